# SPDX-License-Identifier: Apache-2.0
"""Prints an event file of TensorBoard: step, wall time, version or scalars of each record; fails at a wrong checksum.
Usage: read_tfevents.py FILE"""
import struct
import sys

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data):
    """(number, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            size, form = {1: (8, "<d"), 5: (4, "<f")}[kind]
            value, at = struct.unpack(form, data[at:at + size])[0], at + size
        yield number, value
    assert at == len(data)


with open(sys.argv[1], "rb") as file:
    content = file.read()
position = 0
while position < len(content):
    header = content[position:position + 8]
    size, crc = struct.unpack("<QI", content[position:position + 12])
    assert crc == masked_crc(header), "the length's checksum"
    record = content[position + 12:position + 12 + size]
    assert struct.unpack("<I", content[position + 12 + size:position + 16 + size])[0] == masked_crc(record), "the record's checksum"
    position += 16 + size
    event = dict(fields(record))
    words = []
    if 3 in event:
        words.append(event[3].decode())
    for _, scalar in fields(event.get(5, b"")):
        scalar = dict(fields(scalar))
        words.append(f"{scalar[1].decode()}={scalar[2]:.6g}")
    print(event.get(2, 0), event[1], *words)
