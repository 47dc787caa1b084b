/* Plugin of QEMU that counts how often each block of instructions runs.
 *
 * Its argument, counts=FILE, names a file of zeros that holds MOST blocks;
 * a program that maps it into memory sees the counts while the core is stopped.
 * The few functions of QEMU that it calls are the same in all versions.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
    uint32_t address;
    uint32_t bytes;
    uint64_t count;
} block_t;

struct tb;
struct insn;
uint64_t qemu_plugin_tb_vaddr(const struct tb *tb);
size_t qemu_plugin_tb_n_insns(const struct tb *tb);
struct insn *qemu_plugin_tb_get_insn(const struct tb *tb, size_t index);
size_t qemu_plugin_insn_size(const struct insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
                                           void (*call)(uint64_t id, struct tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *tb,
                                          void (*call)(unsigned int core, void *data),
                                          int flags, void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = VERSION;

static block_t *blocks;
static uint32_t used;

static void count(unsigned int core, void *data)
{
    (void)core;
    ((block_t *)data)->count += 1;
}

static void translated(uint64_t id, struct tb *tb)
{
    const size_t length = qemu_plugin_tb_n_insns(tb);
    const uint32_t address = (uint32_t)qemu_plugin_tb_vaddr(tb);
    uint32_t place = (address >> 1) % MOST;
    uint32_t bytes = 0;
    block_t *block;
    size_t i;
    (void)id;
    for (i = 0; i < length; ++i) {
        bytes += (uint32_t)qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i));
    }
    /* blocks are translated again after each stop */
    while ((blocks[place].bytes != 0u) &&
           ((blocks[place].address != address) || (blocks[place].bytes != bytes))) {
        place = (place + 1u) % MOST;
    }
    block = &blocks[place];
    if (block->bytes == 0u) {
        ++used;
        if (used == MOST) {
            abort();
        }
        block->address = address;
        block->bytes = bytes;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, count, 0, block);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id,
                                                               const void *info,
                                                               int words_count, char **words)
{
    int file;
    (void)info;
    if ((words_count != 1) || (strncmp(words[0], "counts=", 7) != 0)) {
        return 1;
    }
    file = open(words[0] + 7, O_RDWR);
    if (file < 0) {
        return 1;
    }
    blocks = mmap(NULL, MOST * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (blocks == MAP_FAILED) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
