// A fake of NVIDIA's driver (libcuda.so.1) and of NVRTC, in one library: one device whose memory is host memory, and launches
// that do nothing. It injects failures of driver calls, and shows the host's overhead per launch. scripts/fake-driver builds it
// and runs a command with it; tests/driver_failures.rs uses it likewise.
//
//   FAKE_CUDA_FAIL=CALL:N:CODE  the Nth call of this name returns this CUresult. A code that destroys the context (700, 719 and
//                               their like) is returned by every later call too, as the driver does.
//   FAKE_CUDA_MEMORY=BYTES      the device's memory, by default 8 GiB.
//   FAKE_CUDA_STUB=1            every call returns CUDA_ERROR_STUB_LIBRARY, as the library in a toolkit's folder `stubs` does.
//   FAKE_CUDA_LOG=FILE          logs `alloc BYTES`, `free BYTES` and `sync 0`, and at exit `calls NAME COUNT` for every function.
//
// Errors of the program end the process with one line: a copy or memset outside of an allocation, a double free, a call that
// needs a current context without one. Leaks are not reported, since a process-wide device lives until the process ends.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned CUresult;
typedef uint64_t CUdeviceptr;

// The list of backend-cuda/src/gpu/calls.rs; the backend refuses a library that lacks one.
#define CALLS(X)                                                                                                          \
  X(cuCtxSetCurrent) X(cuDeviceGet) X(cuDeviceGetAttribute) X(cuDeviceGetCount) X(cuDeviceGetName)                        \
  X(cuDevicePrimaryCtxRelease_v2) X(cuDevicePrimaryCtxRetain) X(cuDeviceTotalMem_v2) X(cuDriverGetVersion)                \
  X(cuEventCreate) X(cuEventDestroy_v2) X(cuEventRecord) X(cuEventSynchronize) X(cuGetErrorName) X(cuGetErrorString)      \
  X(cuInit) X(cuLaunchKernel) X(cuMemAlloc_v2) X(cuMemFree_v2) X(cuMemFreeHost) X(cuMemHostAlloc)                         \
  X(cuMemcpyDtoHAsync_v2) X(cuMemcpyHtoDAsync_v2) X(cuMemsetD8Async) X(cuModuleGetFunction) X(cuModuleLoadData)           \
  X(cuModuleUnload) X(cuStreamCreate) X(cuStreamDestroy_v2) X(cuStreamSynchronize)

#define ID(name) id_##name,
enum Call { CALLS(ID) CALL_COUNT };
#define TEXT(name) #name,
static const char* const names[] = {CALLS(TEXT)};

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  STUB_LIBRARY = 34,
  INVALID_CONTEXT = 201,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// Whether calls are counted at all; without it a call is as cheap as can be.
static int watched;
static unsigned long counts[CALL_COUNT];
static int failing = -1;
static unsigned long failing_at;
static CUresult failing_code, lost;
static int stub;
static FILE* record;
static size_t memory = (size_t)8 << 30, held;
static __thread void* current;
static int context, handle;

static struct Block {
  char* start;
  size_t bytes;
  struct Block* next;
} *blocks;

static void die(const char* what) {
  fprintf(stderr, "fake driver: %s\n", what);
  abort();
}

__attribute__((constructor)) static void start(void) {
  const char* fail = getenv("FAKE_CUDA_FAIL");
  char name[64];
  if (fail != NULL && *fail != 0) {
    if (sscanf(fail, "%63[^:]:%lu:%u", name, &failing_at, &failing_code) != 3) die("FAKE_CUDA_FAIL is CALL:N:CODE");
    for (int call = 0; call < CALL_COUNT; ++call) {
      if (strcmp(names[call], name) == 0) failing = call;
    }
    if (failing < 0) die("FAKE_CUDA_FAIL names no call");
  }
  const char* bytes = getenv("FAKE_CUDA_MEMORY");
  if (bytes != NULL) memory = strtoull(bytes, NULL, 10);
  const char* is_stub = getenv("FAKE_CUDA_STUB");
  stub = is_stub != NULL && strcmp(is_stub, "1") == 0;
  const char* path = getenv("FAKE_CUDA_LOG");
  if (path != NULL && (record = fopen(path, "a")) == NULL) die("the file of FAKE_CUDA_LOG cannot be opened");
  watched = failing >= 0 || stub || record != NULL;
}

__attribute__((destructor)) static void end(void) {
  if (record == NULL) return;
  for (int call = 0; call < CALL_COUNT; ++call) fprintf(record, "calls %s %lu\n", names[call], counts[call]);
  fclose(record);
  record = NULL;
}

// Errors after which the context is of no more use.
static int is_sticky(CUresult code) { return code == 700 || code == 702 || code == 710 || (code >= 714 && code <= 719); }

static CUresult count(enum Call call) {
  if (stub) return STUB_LIBRARY;
  pthread_mutex_lock(&lock);
  CUresult result = lost;
  if (++counts[call] == failing_at && (int)call == failing && lost == SUCCESS) {
    result = failing_code;
    if (is_sticky(result)) lost = result;
  }
  // What an error means can be asked at any time.
  if (lost != SUCCESS && (call == id_cuGetErrorName || call == id_cuGetErrorString)) result = SUCCESS;
  pthread_mutex_unlock(&lock);
  return result;
}

#define ENTER(name)                                     \
  if (__builtin_expect(watched, 0)) {                   \
    const CUresult failed = count(id_##name);           \
    if (failed != SUCCESS) return failed;               \
  }
#define IN_CONTEXT(name)                                \
  ENTER(name)                                           \
  if (__builtin_expect(current == NULL, 0)) return INVALID_CONTEXT;

// ---- the device ----

CUresult cuInit(unsigned flags) {
  ENTER(cuInit)
  return flags == 0 ? SUCCESS : INVALID_VALUE;
}
CUresult cuDriverGetVersion(int* version) {
  ENTER(cuDriverGetVersion)
  *version = 13000;
  return SUCCESS;
}
CUresult cuDeviceGetCount(int* devices) {
  ENTER(cuDeviceGetCount)
  *devices = 1;
  return SUCCESS;
}
CUresult cuDeviceGet(int* device, int ordinal) {
  ENTER(cuDeviceGet)
  *device = 0;
  return ordinal == 0 ? SUCCESS : 101;
}
CUresult cuDeviceGetName(char* name, int capacity, int device) {
  ENTER(cuDeviceGetName)
  snprintf(name, capacity, "fake device");
  return SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, int device) {
  ENTER(cuDeviceTotalMem_v2)
  *bytes = memory;
  return SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, int attribute, int device) {
  ENTER(cuDeviceGetAttribute)
  switch (attribute) {
    case 75: *value = 9; break;            // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = 0; break;            // COMPUTE_CAPABILITY_MINOR
    case 16: *value = 132; break;          // MULTIPROCESSOR_COUNT
    case 97: *value = 227 << 10; break;    // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    default: return INVALID_VALUE;
  }
  return SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(void** made, int device) {
  ENTER(cuDevicePrimaryCtxRetain)
  *made = &context;
  return SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) {
  ENTER(cuDevicePrimaryCtxRelease_v2)
  return SUCCESS;
}
CUresult cuCtxSetCurrent(void* made) {
  ENTER(cuCtxSetCurrent)
  current = made;
  return SUCCESS;
}

// ---- errors ----

static const struct {
  CUresult code;
  const char *name, *words;
} errors[] = {
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult cuGetErrorName(CUresult code, const char** text) {
  ENTER(cuGetErrorName)
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i) {
    if (errors[i].code == code) return *text = errors[i].name, SUCCESS;
  }
  return *text = NULL, INVALID_VALUE;
}
CUresult cuGetErrorString(CUresult code, const char** text) {
  ENTER(cuGetErrorString)
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i) {
    if (errors[i].code == code) return *text = errors[i].words, SUCCESS;
  }
  return *text = NULL, INVALID_VALUE;
}

// ---- memory ----

static void note(const char* what, size_t bytes) {
  if (record != NULL) fprintf(record, "%s %zu\n", what, bytes);
}

CUresult cuMemAlloc_v2(CUdeviceptr* at, size_t bytes) {
  IN_CONTEXT(cuMemAlloc_v2)
  if (bytes == 0) return INVALID_VALUE;
  pthread_mutex_lock(&lock);
  char* start = NULL;
  struct Block* block = NULL;
  if (bytes <= memory - held) {
    block = malloc(sizeof *block);
    start = aligned_alloc(512, (bytes + 511) / 512 * 512);
  }
  if (block != NULL && start != NULL) {
    memset(start, 0, bytes);
    *block = (struct Block){start, bytes, blocks};
    blocks = block;
    held += bytes;
    note("alloc", bytes);
  }
  pthread_mutex_unlock(&lock);
  *at = (CUdeviceptr)start;
  return start == NULL ? OUT_OF_MEMORY : SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr at) {
  IN_CONTEXT(cuMemFree_v2)
  pthread_mutex_lock(&lock);
  struct Block** link = &blocks;
  while (*link != NULL && (CUdeviceptr)(*link)->start != at) link = &(*link)->next;
  struct Block* block = *link;
  if (block == NULL) die("cuMemFree of what is not allocated");
  *link = block->next;
  held -= block->bytes;
  note("free", block->bytes);
  pthread_mutex_unlock(&lock);
  free(block->start);
  free(block);
  return SUCCESS;
}
CUresult cuMemHostAlloc(void** at, size_t bytes, unsigned flags) {
  IN_CONTEXT(cuMemHostAlloc)
  return (*at = malloc(bytes)) == NULL ? OUT_OF_MEMORY : SUCCESS;
}
CUresult cuMemFreeHost(void* at) {
  IN_CONTEXT(cuMemFreeHost)
  free(at);
  return SUCCESS;
}

static char* checked(CUdeviceptr at, size_t bytes) {
  pthread_mutex_lock(&lock);
  const struct Block* block = blocks;
  while (block != NULL && !(at >= (CUdeviceptr)block->start && at + bytes <= (CUdeviceptr)block->start + block->bytes)) {
    block = block->next;
  }
  pthread_mutex_unlock(&lock);
  if (block == NULL) die("bytes outside of what is allocated");
  return (char*)at;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* stream) {
  IN_CONTEXT(cuMemcpyHtoDAsync_v2)
  memcpy(checked(to, bytes), from, bytes);
  return SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* stream) {
  IN_CONTEXT(cuMemcpyDtoHAsync_v2)
  memcpy(to, checked(from, bytes), bytes);
  return SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, void* stream) {
  IN_CONTEXT(cuMemsetD8Async)
  memset(checked(at, bytes), value, bytes);
  return SUCCESS;
}

// ---- streams, events, modules, launches ----

// Calls whose effect nothing observes: they make a handle, or do nothing.
#define MAKES(name, ...)                    \
  CUresult name(void** made, __VA_ARGS__) { \
    IN_CONTEXT(name)                        \
    *made = &handle;                        \
    return SUCCESS;                         \
  }
#define DOES_NOTHING(name, ...) \
  CUresult name(__VA_ARGS__) {  \
    IN_CONTEXT(name)            \
    return SUCCESS;             \
  }

MAKES(cuStreamCreate, unsigned flags)
MAKES(cuEventCreate, unsigned flags)
MAKES(cuModuleLoadData, const void* image)
MAKES(cuModuleGetFunction, void* module, const char* name_of)
DOES_NOTHING(cuStreamDestroy_v2, void* stream)
DOES_NOTHING(cuEventDestroy_v2, void* event)
DOES_NOTHING(cuEventRecord, void* event, void* stream)
DOES_NOTHING(cuEventSynchronize, void* event)
DOES_NOTHING(cuModuleUnload, void* module)

CUresult cuStreamSynchronize(void* stream) {
  IN_CONTEXT(cuStreamSynchronize)
  note("sync", 0);
  return SUCCESS;
}
CUresult cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, void* stream, void** params, void** extra) {
  IN_CONTEXT(cuLaunchKernel)
  return gx && gy && gz && bx && by && bz ? SUCCESS : INVALID_VALUE;
}

// ---- NVRTC: every program compiles, to nothing ----

// A version of its own, so that its machine code is nobody else's in a cache.
int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 99, 0; }
const char* nvrtcGetErrorString(int status) { return status == 0 ? "success" : "error"; }
int nvrtcGetNumSupportedArchs(int* number) { return *number = 2, 0; }
int nvrtcGetSupportedArchs(int* archs) { return archs[0] = 80, archs[1] = 90, 0; }
int nvrtcCreateProgram(void** program, const char* source, const char* name, int headers, const char* const* texts,
                       const char* const* names_of) {
  return *program = &handle, 0;
}
int nvrtcCompileProgram(void* program, int number, const char* const* options) { return 0; }
int nvrtcGetProgramLogSize(void* program, size_t* bytes) { return *bytes = 1, 0; }
int nvrtcGetProgramLog(void* program, char* text) { return *text = 0, 0; }
int nvrtcGetCUBINSize(void* program, size_t* bytes) { return *bytes = 8, 0; }
int nvrtcGetCUBIN(void* program, char* code) { return memcpy(code, "\x7f" "ELFfake", 8), 0; }
int nvrtcDestroyProgram(void** program) { return *program = NULL, 0; }
