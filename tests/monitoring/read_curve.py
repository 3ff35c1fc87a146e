# SPDX-License-Identifier: Apache-2.0
"""Reads curve.log by monitoring/FORMAT.md alone and prints one line per surviving row: a referee for the C++ reader."""
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


data = open(sys.argv[1], "rb").read()
magic, version, checksum = struct.unpack_from("<8sII", data)
assert magic == b"KIBANCRV" and version in (1, 2) and checksum == crc32c(data[:12])
rows, superseded, at = [], 0, 16
while at < len(data):
    length, checksum = struct.unpack_from("<II", data, at)
    payload = data[at + 8 : at + 8 + length]
    assert checksum == crc32c(data[at : at + 4] + payload), at
    if payload[0] == 1:
        row = struct.unpack("<QQddddddI", payload[1:69])
        rows.append(row + (struct.unpack("<dQ", payload[69:]) if len(payload) > 69 else ()))
    elif payload[0] == 2:
        attempt, from_step = struct.unpack("<IQ", payload[1:])
        superseded += sum(row[0] > from_step for row in rows)
        rows = [row for row in rows if row[0] <= from_step]
    else:
        assert payload == b"\x03"
    at += 8 + length
for row in rows:
    print(*[value if isinstance(value, int) else value.hex() for value in row])
print("superseded", superseded)
