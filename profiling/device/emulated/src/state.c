// SPDX-License-Identifier: Apache-2.0
// The mapped file: creation, opening, time, and slots that a killed writer cannot spoil.

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// A writer at work may lose its core (or a virtual machine its own) for some milliseconds: what is
// read meanwhile would be overtaken by what it writes. One that was stopped holds nobody for long.
#define SPINS 64
#define PATIENCE_NS 250000000
#define NAP_NS 50000

static int map_file(int file, bool writable, struct sg_map *map) {
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *at = mmap(NULL, sizeof(struct sg_state), protection, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) return errno;
    map->state = at;
    map->writable = writable;
    return 0;
}

// Never with O_CREAT: fs.protected_regular refuses that for another user's file in /tmp.
int sg_map_open(const char *path, struct sg_map *map) {
    bool writable = true;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        writable = false;
        file = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (file < 0) return errno;
    struct stat status;
    int error = fstat(file, &status) ? errno : 0;
    if (!error && (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(struct sg_state)))
        error = EINVAL;
    if (!error) error = map_file(file, writable, map);
    close(file);
    if (error) return error;
    const struct sg_state *state = map->state;
    if (state->magic != SG_MAGIC || state->version != SG_VERSION ||
        state->size != sizeof(struct sg_state) || state->device_count > SG_DEVICES) {
        sg_map_close(map);
        return EPROTO;
    }
    return 0;
}

int sg_map_create(const char *path, struct sg_map *map) {
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) return errno;
    int error = posix_fallocate(file, 0, sizeof(struct sg_state));
    if (!error) error = map_file(file, true, map);
    close(file);
    return error;
}

void sg_map_close(struct sg_map *map) {
    if (map->state) munmap(map->state, sizeof(struct sg_state));
    map->state = NULL;
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t sg_now_ns(const struct sg_state *state) {
    return state->is_virtual ? atomic_load(&state->virtual_ns) : clock_ns(CLOCK_BOOTTIME);
}

int sg_cell_init(struct sg_cell *cell) {
    pthread_mutexattr_t how;
    int error = pthread_mutexattr_init(&how);
    if (error) return error;
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    error = pthread_mutex_init(&cell->mutex, &how);
    pthread_mutexattr_destroy(&how);
    return error;
}

int sg_cell_lock(struct sg_cell *cell) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;  // a stopped process must not stop the others
    int error = pthread_mutex_timedlock(&cell->mutex, &until);
    if (error == EOWNERDEAD) error = pthread_mutex_consistent(&cell->mutex);
    return error;
}

void sg_cell_unlock(struct sg_cell *cell) { pthread_mutex_unlock(&cell->mutex); }

unsigned long long sg_cell_read(struct sg_cell *cell, const void *slots, size_t size,
                                void *copy) {
    for (unsigned tries = 1;; tries++) {
        unsigned long long seen = atomic_load_explicit(&cell->generation, memory_order_acquire);
        memcpy(copy, (const char *)slots + (seen & 1) * size, size);
        atomic_thread_fence(memory_order_acquire);
        // The slot just copied is written to only after the next generation is published.
        if (atomic_load_explicit(&cell->generation, memory_order_relaxed) == seen) return seen;
        if (tries % 64 == 0) sched_yield();
    }
}

void sg_cell_write(struct sg_cell *cell, void *slots, size_t size, const void *copy) {
    unsigned long long next = atomic_load(&cell->generation) + 1;
    memcpy((char *)slots + (next & 1) * size, copy, size);
    atomic_store_explicit(&cell->generation, next, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
}

// A writer that died at work would make every reader wait; one that only rests keeps its lock.
static void heal(struct sg_cell *cell) {
    int error = pthread_mutex_trylock(&cell->mutex);
    if (error == EOWNERDEAD) error = pthread_mutex_consistent(&cell->mutex);
    if (error != 0) return;
    atomic_store(&cell->begun, atomic_load(&cell->generation));
    sg_cell_unlock(cell);
}

void sg_look(struct sg_map *map, uint32_t index, struct sg_live *live) {
    struct sg_device *device = &map->state->devices[index];
    const struct timespec nap = {.tv_nsec = NAP_NS};
    int64_t now_ns, until_ns = 0;
    for (unsigned tries = 1;; tries++) {
        unsigned long long seen = sg_cell_read(&device->cell, device->slots, sizeof *live, live);
        now_ns = sg_now_ns(map->state);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(&device->cell.begun) == seen) break;
        if (tries < SPINS) continue;
        if (tries == SPINS) until_ns = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
        if (map->writable) heal(&device->cell);
        if (clock_ns(CLOCK_MONOTONIC) >= until_ns) break;
        nanosleep(&nap, NULL);
    }
    sg_advance(&device->model, live, now_ns);
}

int sg_edit_begin(struct sg_map *map, uint32_t index, struct sg_live *live) {
    struct sg_device *device = &map->state->devices[index];
    if (!map->writable) return EACCES;
    int error = sg_cell_lock(&device->cell);
    if (error) return error;
    atomic_store(&device->cell.begun, atomic_load(&device->cell.generation) + 1);
    atomic_thread_fence(memory_order_seq_cst);
    sg_cell_read(&device->cell, device->slots, sizeof *live, live);
    sg_advance(&device->model, live, sg_now_ns(map->state));
    return 0;
}

void sg_edit_commit(struct sg_map *map, uint32_t index, struct sg_live *live) {
    struct sg_device *device = &map->state->devices[index];
    sg_settle(&device->model, live);
    sg_cell_write(&device->cell, device->slots, sizeof *live, live);
    sg_cell_unlock(&device->cell);
}

void sg_edit_abort(struct sg_map *map, uint32_t index) {
    struct sg_cell *cell = &map->state->devices[index].cell;
    atomic_store(&cell->begun, atomic_load(&cell->generation));
    sg_cell_unlock(cell);
}
