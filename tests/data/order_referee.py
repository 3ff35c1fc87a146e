# SPDX-License-Identifier: Apache-2.0
"""Prints 'position source epoch row' of a sample order, written from data/FORMAT.md alone."""
import hashlib
import math

M64 = (1 << 64) - 1
SEED = 42
SOURCES = [("alpha", 997, 5), ("beta", 64, 2), ("gamma", 3, 0.25)]


def mix(x):
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & M64
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & M64
    return x ^ (x >> 33)


def keys(source_id, epoch):
    words = []
    for half in range(2):
        digest = hashlib.sha256(f"kiban order 1\n{SEED}\n{source_id}\n{half}".encode()).digest()
        words += [int.from_bytes(digest[8 * i:8 * i + 8], "big") for i in range(4)]
    return [mix((word + mix((epoch * 0x9E3779B97F4A7C15 + r + 1) & M64)) & M64) for r, word in enumerate(words)]


def permute(n, source_id, epoch, k):
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    key = keys(source_id, epoch)
    while True:
        high, low = divmod(k, b)
        for r in range(0, 8, 2):
            high = (high + (mix(low ^ key[r]) * a >> 64)) % a
            low = (low + (mix(high ^ key[r + 1]) * b >> 64)) % b
        k = high * b + low
        if k < n:
            return k


def shares(weights):
    exact = [w / sum(weights) * 2**20 for w in weights]
    units = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda i: -(exact[i] - units[i]))
    for i in range(2**20 - sum(units)):
        units[order[i]] += 1
    g = math.gcd(*units)
    return [u // g for u in units]


def interleave(share):
    """Slot by slot: of the sources whose next appearance may come now, the one whose deadline is first."""
    period = sum(share)
    done = [0] * len(share)
    for slot in range(1, period + 1):
        ready = [(-(-(done[s] + 1) * period // share[s]), s) for s in range(len(share))
                 if done[s] < share[s] and done[s] * period // share[s] + 1 <= slot]
        source = min(ready)[1]
        yield source, done[source]
        done[source] += 1


share = shares([w for _, _, w in SOURCES])
period = sum(share)
places = []
for place in interleave(share):
    places.append(place)
    if len(places) == 200000:
        break
positions = list(range(200)) + [997 * i + 5 for i in range(190)] + [period * i + 77 for i in range(1, 11)]
for position in positions:
    slot = position % period
    source, rank = places[slot]
    name, rows, _ = SOURCES[source]
    count = position // period * share[source] + rank
    print(position, source, count // rows, permute(rows, name, count // rows, count % rows))
