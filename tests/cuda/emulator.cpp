/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/emulator.h"

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WITH_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef WITH_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- The card ------------------------------------------------------------------------------------------- */

static std::recursive_mutex card; /* one thing at a time, as on one stream */
static int n_cards = 1, capability[2] = {9, 0}, launches, lives = -1;
static size_t memory_size = (size_t)4 << 30, memory_used;
static std::map<char *, size_t> allocations;
static cudaError_t broken; /* a card that failed stays so */
static thread_local cudaError_t last;
static emulated_order order;

void emulated_run(emulated_order how)
{
    order = how;
}

void emulated_card(int n, int major, int minor, size_t memory)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    n_cards = n;
    capability[0] = major;
    capability[1] = minor;
    memory_size = memory;
    broken = last = cudaSuccess;
    lives = -1;
}

void emulated_lose(int after)
{
    lives = after;
}

int emulated_held(void)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    return (int)allocations.size();
}

int emulated_launches(void)
{
    return launches;
}

static cudaError_t fail(cudaError_t error)
{
    if (error != cudaErrorMemoryAllocation) broken = error;
    return last = error;
}

/* ---- Memory --------------------------------------------------------------------------------------------- */

#ifdef WITH_ADDRESS_SANITIZER
static const size_t HEM = 0; /* the sanitizer has one */
#else
static const size_t HEM = 256;
#endif
static const unsigned char HEM_BYTE = 0xff; /* floats of it are NaN */

static bool hem_is_whole(const char *memory, size_t bytes)
{
    const unsigned char *before = (const unsigned char *)memory - HEM,
                        *behind = (const unsigned char *)memory + bytes;
    for (size_t i = 0; i < HEM; i++)
        if (before[i] != HEM_BYTE || behind[i] != HEM_BYTE) return false;
    return true;
}

static cudaError_t look(void)
{
    for (const auto &allocation : allocations)
        if (!hem_is_whole(allocation.first, allocation.second)) return fail(cudaErrorIllegalAddress);
    return broken;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    *out = nullptr;
    if (broken) return last = broken;
    if (bytes > memory_size - memory_used) return fail(cudaErrorMemoryAllocation);
    void *memory = nullptr;
    if (posix_memalign(&memory, 256, bytes + 2 * HEM) != 0) return fail(cudaErrorMemoryAllocation);
    memset(memory, HEM_BYTE, bytes + 2 * HEM);
    *out = (char *)memory + HEM;
    allocations[(char *)*out] = bytes;
    memory_used += bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    auto found = allocations.find((char *)memory);
    if (!memory) return cudaSuccess;
    if (found == allocations.end()) return fail(cudaErrorInvalidValue);
    if (!hem_is_whole(found->first, found->second)) fail(cudaErrorIllegalAddress);
    memory_used -= found->second;
    allocations.erase(found);
    free((char *)memory - HEM);
    return broken;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *all)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    *available = memory_size - memory_used;
    *all = memory_size;
    return broken;
}

/* Whether an allocation of the card's holds all of it. */
static bool is_there(const void *memory, size_t bytes)
{
    auto next = allocations.upper_bound((char *)memory);
    if (next == allocations.begin()) return false;
    --next;
    return (const char *)memory + bytes <= next->first + next->second;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    if (broken) return last = broken;
    if (bytes > 0 && !is_there(kind == cudaMemcpyHostToDevice ? to : from, bytes))
        return fail(cudaErrorInvalidValue);
    memcpy(to, from, bytes);
    return cudaSuccess;
}

/* ---- What else the host asks ---------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = n_cards > 0 ? n_cards : 0;
    return n_cards < 0 ? cudaErrorInsufficientDriver : n_cards == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int)
{
    *out = {};
    snprintf(out->name, sizeof out->name, "emulated");
    out->major = capability[0];
    out->minor = capability[1];
    return broken;
}

cudaError_t cudaSetDevice(int)
{
    return broken;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    *out = nullptr;
    return broken;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    return look();
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = broken ? broken : last;
    last = cudaSuccess;
    return error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
        return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
        return "cudaErrorLaunchFailure";
    default:
        return "cudaErrorOther";
    }
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "another error";
    }
}

/* ---- Fibers --------------------------------------------------------------------------------------------- */

enum { STACK = 256 << 10, MOST_THREADS = 1024 };

#if defined(__x86_64__)
typedef void *place; /* the stack pointer, with the registers that a call keeps below it */

extern "C" void emulator_switch(place *from, place to);
asm(".text\n"
    ".globl emulator_switch\n"
    ".hidden emulator_switch\n"
    ".type emulator_switch, @function\n"
    "emulator_switch:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size emulator_switch, .-emulator_switch\n");

static void prepare(place *p, char *stack, void (*run)())
{
    void **top = (void **)(void *)(stack + STACK - 16);
    *--top = nullptr; /* run() returns to nowhere */
    *--top = (void *)run;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    *p = top;
}

static void go(place *from, place *to)
{
    emulator_switch(from, *to);
}
#else
typedef ucontext_t place;

static void prepare(place *p, char *stack, void (*run)())
{
    getcontext(p);
    p->uc_stack.ss_sp = stack;
    p->uc_stack.ss_size = STACK;
    p->uc_link = nullptr;
    makecontext(p, run, 0);
}

static void go(place *from, place *to)
{
    swapcontext(from, to);
}
#endif

typedef struct fiber {
    place at;
    char *stack;
    unsigned thread; /* that it is now */
    bool waits; /* at a barrier */
} fiber;

static std::vector<fiber> &fibers =
    *new std::vector<fiber>; /* for good: whoever looks for leaks finds them in use */
static place scheduler;
static int running; /* the fiber */
static unsigned n_threads, begun; /* of the block */
static bool barrier_met;
static const std::function<void()> *body;
static std::vector<float> *block_memory_now;

/* Tells the address sanitizer which stack comes next. */
#ifdef WITH_ADDRESS_SANITIZER
static const void *host_stack;
static size_t host_stack_size;
static void clean(char *stack) /* of frames that nobody returned from */
{
    __asan_unpoison_memory_region(stack, STACK);
}
static void leave(void **own, const void *stack, size_t size)
{
    __sanitizer_start_switch_fiber(own, stack, size);
}
static void arrive(void *own, bool from_host)
{
    if (from_host)
        __sanitizer_finish_switch_fiber(own, &host_stack, &host_stack_size);
    else
        __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
}
#else
static const void *host_stack;
static size_t host_stack_size;
static void clean(char *)
{
}
static void leave(void **, const void *, size_t)
{
}
static void arrive(void *, bool)
{
}
#endif

static unsigned thread_at(unsigned place_in_order)
{
    return order == EMULATED_BACKWARD ? n_threads - 1 - place_in_order : place_in_order;
}

static void to_scheduler(void)
{
    void *own = nullptr;
    leave(&own, host_stack, host_stack_size);
    go(&fibers[(size_t)running].at, &scheduler);
    arrive(own, true);
}

/* One thread after the other; no other fiber is needed until one of them waits. */
static void run_fiber(void)
{
    arrive(nullptr, true);
    for (;;) {
        threadIdx = dim3(fibers[(size_t)running].thread);
        (*body)();
        fibers[(size_t)running].waits = false;
        while (barrier_met || begun >= n_threads) to_scheduler();
        fibers[(size_t)running].thread = thread_at(begun++);
    }
}

static void resume(int i)
{
    void *own = nullptr;
    running = i;
    threadIdx = dim3(fibers[(size_t)i].thread);
    leave(&own, fibers[(size_t)i].stack, STACK);
    go(&scheduler, &fibers[(size_t)i].at);
    arrive(own, false);
}

static pthread_barrier_t *threads_barrier;

void __syncthreads(void)
{
    if (threads_barrier) {
        pthread_barrier_wait(threads_barrier);
        return;
    }
    const dim3 thread = threadIdx;
    barrier_met = true;
    fibers[(size_t)running].waits = true;
    to_scheduler();
    threadIdx = thread;
}

float *emulated_memory(void)
{
    return block_memory_now->data();
}

static void run_block(void)
{
    begun = 0;
    barrier_met = false;
    int used = 0;
    while (begun < n_threads) { /* up to the first barrier */
        if ((size_t)used == fibers.size()) fibers.push_back({place(), (char *)malloc(STACK), 0, false});
        fiber *f = &fibers[(size_t)used];
        clean(f->stack);
        prepare(&f->at, f->stack, run_fiber);
        f->thread = thread_at(begun++);
        f->waits = false;
        resume(used++);
    }
    for (int waiting = 1; waiting > 0;) {
        waiting = 0;
        for (int i = 0; i < used; i++) waiting += fibers[(size_t)i].waits;
        if (waiting > 0 && (waiting != used || used != (int)n_threads)) { /* some are through without it */
            fail(cudaErrorLaunchFailure);
            return;
        }
        for (int i = 0; i < used && waiting > 0; i++) resume(i);
    }
}

static void run_threads(void)
{
    std::vector<std::thread> threads;
    pthread_barrier_t barrier;
    const dim3 block = blockIdx, size = blockDim, grid = gridDim;
    pthread_barrier_init(&barrier, nullptr, n_threads);
    threads_barrier = &barrier;
    for (unsigned i = 0; i < n_threads; i++)
        threads.emplace_back([=] {
            threadIdx = dim3(i);
            blockIdx = block;
            blockDim = size;
            gridDim = grid;
            (*body)();
        });
    for (auto &thread : threads) thread.join();
    threads_barrier = nullptr;
    pthread_barrier_destroy(&barrier);
}

void emulated_launch(dim3 grid, unsigned block, size_t bytes, const std::function<void()> &kernel)
{
    std::lock_guard<std::recursive_mutex> lock(card);
    std::vector<float> block_memory(bytes / sizeof(float));
    if (lives == 0) fail(cudaErrorLaunchFailure);
    if (lives > 0) lives--;
    launches++;
    if (broken) return;
    if (grid.x < 1 || grid.y < 1 || block < 1 || block > MOST_THREADS || bytes > (48u << 10)) {
        fail(cudaErrorInvalidConfiguration);
        return;
    }
    blockDim = dim3(block);
    gridDim = grid;
    n_threads = block;
    body = &kernel;
    block_memory_now = &block_memory;
    for (unsigned y = 0; y < grid.y && !broken; y++)
        for (unsigned x = 0; x < grid.x && !broken; x++) {
            for (float &number : block_memory) number = __builtin_nanf(""); /* left over from others */
            blockIdx = dim3(x, y);
            if (order == EMULATED_THREADS)
                run_threads();
            else
                run_block();
        }
}
