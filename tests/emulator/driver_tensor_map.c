/*
 * cuTensorMapEncodeTiled: the documented rules, each refused by name, and the emulator's own encoding (core.h).
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <string.h>

/* By CUtensorMapDataType: bytes of an element, and whether out-of-bounds elements may be filled with NaN. The packed
 * 4- and 6-bit types are not emulated. */
static const struct {
    uint8_t bytes;
    bool real;
} types[] = {{1, false}, {2, false}, {4, false}, {4, false}, {8, false}, {8, false}, {2, true},
             {4, true},  {8, true},  {2, true},  {4, true},  {4, true},  {4, true}};

#define REFUSE(...) return refuse(CUDA_ERROR_INVALID_VALUE, "cuTensorMapEncodeTiled: " __VA_ARGS__)

static CUresult encode(CUtensorMap *map, int type, uint32_t rank, uint64_t address, const uint64_t *sizes,
                       const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides, int interleave,
                       int swizzle, int promotion, int fill)
{
    static const uint8_t swizzle_bytes[] = {0, 32, 64, 128};
    if (map == NULL || sizes == NULL || box == NULL || element_strides == NULL || (rank > 1 && strides == NULL))
        REFUSE("a NULL argument");
    if ((uintptr_t)map % 64 != 0) REFUSE("the map at %p is not aligned to 64 bytes", (void *)map);
    if (type < 0 || type >= (int)(sizeof types / sizeof types[0])) REFUSE("data type %d; 0 to 12 are emulated", type);
    if (interleave != 0)
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuTensorMapEncodeTiled: interleaved layouts are not emulated");
    if (swizzle < 0 || swizzle > 3) REFUSE("swizzle %d; 0 to 3 are emulated", swizzle);
    if (promotion < 0 || promotion > 3) REFUSE("L2 promotion %d; 0 to 3", promotion);
    if (fill < 0 || fill > 1 || (fill == 1 && !types[type].real)) REFUSE("fill %d of data type %d", fill, type);
    if (rank < 1 || rank > 5) REFUSE("rank %" PRIu32 "; 1 to 5", rank);
    if (address == 0 || address % 16 != 0) REFUSE("the address 0x%" PRIx64 " is not aligned to 16 bytes", address);

    struct core_tensor_map m = {.magic = CORE_TENSOR_MAP_MAGIC,
                                .rank = (uint8_t)rank,
                                .element_bytes = types[type].bytes,
                                .swizzle = swizzle_bytes[swizzle],
                                .nan_fill = (uint8_t)fill,
                                .base = address};
    m.stride[0] = m.element_bytes;
    for (uint32_t d = 0; d < rank; d++) {
        if (sizes[d] == 0 || sizes[d] > (uint64_t)1 << 32)
            REFUSE("size %" PRIu64 " of dimension %" PRIu32, sizes[d], d);
        if (box[d] == 0 || box[d] > 256) REFUSE("box of %" PRIu32 " in dimension %" PRIu32 "; 1 to 256", box[d], d);
        if (element_strides[d] == 0 || element_strides[d] > 8)
            REFUSE("element stride %" PRIu32 " of dimension %" PRIu32 "; 1 to 8", element_strides[d], d);
        if (d > 0) {
            uint64_t stride = strides[d - 1];
            if (stride == 0 || stride % 16 != 0 || stride >= (uint64_t)1 << 40)
                REFUSE("stride %" PRIu64 " of dimension %" PRIu32 "; a multiple of 16 below 2^40", stride, d);
            m.stride[d] = stride;
        }
        m.size_minus_1[d] = (uint32_t)(sizes[d] - 1);
        m.box[d] = (uint16_t)box[d];
        m.element_stride[d] = (uint8_t)element_strides[d];
    }
    uint32_t row = box[0] * m.element_bytes;
    if (row % 16 != 0) REFUSE("box rows of %" PRIu32 " bytes; a multiple of 16", row);
    if (m.swizzle != 0 && row > m.swizzle)
        REFUSE("box rows of %" PRIu32 " bytes are longer than the swizzle's %d", row, m.swizzle);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, int type, uint32_t rank, void *address, const uint64_t *sizes,
                                const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides,
                                int interleave, int swizzle, int promotion, int fill)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && emu.options.sm < 90)
        status = refuse(CUDA_ERROR_NOT_SUPPORTED, "cuTensorMapEncodeTiled: sm_%d has no tensor maps", emu.options.sm);
    if (status == CUDA_SUCCESS)
        status = encode(map, type, rank, (uint64_t)(uintptr_t)address, sizes, strides, box, element_strides, interleave,
                        swizzle, promotion, fill);
    return leave(status);
}

CUresult cuTensorMapReplaceAddress(CUtensorMap *map, void *address)
{
    struct core_tensor_map m;
    if (map == NULL || address == NULL || (uintptr_t)address % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
    memcpy(&m, map, sizeof m);
    if (m.magic != CORE_TENSOR_MAP_MAGIC) return CUDA_ERROR_INVALID_VALUE;
    m.base = (uint64_t)(uintptr_t)address;
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}
