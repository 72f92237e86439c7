/* Which 32-bit seeds of a Mersenne Twister give these first two numbers: tries a range of them.
   MT19937 (Matsumoto and Nishimura 1998): the first numbers need words 0 to 2, 397 and 398 of the
   seeded state, so a seed costs 398 steps; sixteen run side by side in the processor's vectors. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LANES = 16 };

static uint32_t temper(uint32_t low, uint32_t high, uint32_t far) {
    uint32_t y = (low & 0x80000000u) | (high & 0x7fffffffu);
    y = far ^ (y >> 1) ^ ((y & 1u) * 0x9908b0dfu);
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

int main(int count, char **words) {
    if (count != 5) return 2;
    uint64_t start = strtoull(words[1], 0, 10), stop = strtoull(words[2], 0, 10);
    uint32_t first = strtoul(words[3], 0, 10), second = strtoul(words[4], 0, 10);
    for (uint64_t at = start; at < stop; at += LANES) {
        uint32_t s[LANES], s0[LANES], s1[LANES], s2[LANES], s397[LANES];
        for (int lane = 0; lane < LANES; lane++) s[lane] = s0[lane] = (uint32_t)(at + lane);
        for (uint32_t i = 1; i <= 397; i++) {
            for (int lane = 0; lane < LANES; lane++)
                s[lane] = 1812433253u * (s[lane] ^ (s[lane] >> 30)) + i;
            if (i <= 2)
                for (int lane = 0; lane < LANES; lane++) (i == 1 ? s1 : s2)[lane] = s[lane];
        }
        for (int lane = 0; lane < LANES; lane++) s397[lane] = s[lane];
        for (int lane = 0; lane < LANES; lane++) {
            if (temper(s0[lane], s1[lane], s397[lane]) != first) continue;
            uint32_t s398 = 1812433253u * (s397[lane] ^ (s397[lane] >> 30)) + 398u;
            if (temper(s1[lane], s2[lane], s398) == second)
                printf("%llu\n", (unsigned long long)(at + lane));
        }
    }
    return 0;
}
