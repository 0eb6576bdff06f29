#include "loader/quantize.h"

#include "loader/bytes.h"

#include <math.h>
#include <string.h>

static uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Round `bits` off `shift` low bits, to nearest, ties to even. */
static uint32_t round_off(uint32_t bits, int shift)
{
    uint32_t half = 1u << (shift - 1), odd = bits >> shift & 1;
    return (bits + half - 1 + odd) >> shift;
}

static uint16_t float_to_half(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000, low = bits & 0x7fffffff;
    if (low > 0x7f800000) { /* NaN: as much of the payload as fits, and never an infinity */
        uint32_t payload = low >> 13 & 0x3ff;
        return (uint16_t)(sign | 0x7c00 | (payload ? payload : 0x200));
    }
    if (low >= 0x47800000) return (uint16_t)(sign | 0x7c00);                            /* 65536 and above */
    if (low >= 0x38800000) return (uint16_t)(sign | round_off(low - (112u << 23), 13)); /* carries into infinity */
    if (low < 0x33000000) return (uint16_t)sign; /* below half of the smallest subnormal */
    uint32_t mantissa = (low & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | round_off(mantissa, 126 - (int)(low >> 23)));
}

static uint16_t float_to_bf16(float x)
{
    uint32_t bits = float_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | (bits & 0x7f0000 ? 0 : 0x40));
    return (uint16_t)round_off(bits, 16);
}

static bool q8_0_block(const float *x, uint8_t *out)
{
    float largest = 0;
    for (int i = 0; i < 32; i++) {
        if (!isfinite(x[i])) return false;
        if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
    }
    float d = largest / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    uint16_t half = float_to_half(d);
    if (half == 0x7c00) return false;
    /* d so small that its inverse overflows: the half is zero too, so the block is. */
    if (!isfinite(inverse)) inverse = 0;
    store_u16(out, half);
    for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
    return true;
}

bool quantize(WeightType type, const float *x, int64_t count, uint8_t *out)
{
    switch (type) {
    case WT_F16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t h = float_to_half(x[i]);
            if ((h & 0x7fff) == 0x7c00 && isfinite(x[i])) return false;
            store_u16(out + 2 * i, h);
        }
        return true;
    case WT_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t h = float_to_bf16(x[i]);
            if ((h & 0x7fff) == 0x7f80 && isfinite(x[i])) return false;
            store_u16(out + 2 * i, h);
        }
        return true;
    case WT_Q8_0:
        for (int64_t i = 0; i < count; i += 32, out += 34) {
            if (!q8_0_block(x + i, out)) return false;
        }
        return true;
    default:
        memcpy(out, x, (size_t)count * sizeof *x);
        return true;
    }
}
