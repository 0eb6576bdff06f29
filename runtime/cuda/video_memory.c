#include "runtime/cuda/video_memory.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define COBJMACROS
#define INITGUID /* the interfaces' names are defined here */
#include <windows.h>

#include <dxgi1_4.h>

#include <string.h>

_Static_assert(sizeof(LUID) == VIDEO_LUID, "as the driver gives it");

static bool ask(IDXGIAdapter1 *adapter, unsigned nodes, VideoMemory *m)
{
    IDXGIAdapter3 *asked = NULL;
    DXGI_QUERY_VIDEO_MEMORY_INFO info = {0};
    UINT node = 0;
    while (nodes > 1 && !(nodes >> node & 1)) node++;
    if (IDXGIAdapter1_QueryInterface(adapter, &IID_IDXGIAdapter3, (void **)&asked) != S_OK) return false;
    const HRESULT status = IDXGIAdapter3_QueryVideoMemoryInfo(asked, node, DXGI_MEMORY_SEGMENT_GROUP_LOCAL, &info);
    IDXGIAdapter3_Release(asked);
    *m = (VideoMemory){info.Budget, info.CurrentUsage};
    return status == S_OK && info.Budget > 0;
}

bool video_memory_by(VideoFactory *make, const uint8_t luid[VIDEO_LUID], unsigned nodes, VideoMemory *m)
{
    IDXGIFactory1 *factory = NULL;
    IDXGIAdapter1 *adapter;
    bool found = false, known = false;
    if (make(&IID_IDXGIFactory1, (void **)&factory) != S_OK) return false;
    for (UINT i = 0; !found && IDXGIFactory1_EnumAdapters1(factory, i, &adapter) == S_OK; i++) {
        DXGI_ADAPTER_DESC1 about;
        found = IDXGIAdapter1_GetDesc1(adapter, &about) == S_OK && memcmp(&about.AdapterLuid, luid, VIDEO_LUID) == 0;
        if (found) known = ask(adapter, nodes, m);
        IDXGIAdapter1_Release(adapter);
    }
    IDXGIFactory1_Release(factory);
    return known;
}

bool video_memory(const uint8_t luid[VIDEO_LUID], unsigned nodes, VideoMemory *m)
{
    /* It stays open: what it has loaded does not bear being taken away. */
    HMODULE dxgi = LoadLibraryExW(L"dxgi.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    FARPROC found = dxgi != NULL ? GetProcAddress(dxgi, "CreateDXGIFactory1") : NULL;
    VideoFactory *make = NULL;
    if (found == NULL) return false;
    memcpy(&make, &found, sizeof make);
    return video_memory_by(make, luid, nodes, m);
}
#else
bool video_memory(const uint8_t luid[VIDEO_LUID], unsigned nodes, VideoMemory *m)
{
    (void)luid;
    (void)nodes;
    (void)m;
    return false;
}
#endif
