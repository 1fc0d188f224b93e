/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the program's commands in processes of their own, each time with another fault, for the test programs of this
 * folder. Who includes this says before what a fault is: arm(n) lets the n-th chance of one go wrong (n < 0: none),
 * disarm() ends that and says how many chances there were, and `failed` whether one went wrong. */
#ifndef TESTS_MEMORY_COMMANDS_H
#define TESTS_MEMORY_COMMANDS_H

#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "made.h"

/* What a process tells the one that started it. */
typedef struct outcome {
    bool failed, coped; /* coped: in a library that can do without */
    long chances; /* up to the one that went wrong */
} outcome;

static void arm(long n);
static outcome disarm(void);

int sahara_main(int argc, char **argv); /* cli/main.c's main() */

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

static const int deadly[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS};
enum { MOST_ARGUMENTS = 32, LEAKED = 99 };

static outcome *shared;
static char root[512]; /* the scratch directory */

/* Under the address sanitizer a command takes twenty times as long, most of it for its start and its leaks. */
#if defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#else
#define SLOW 0
#endif

static void redirect(int fd, const char *name)
{
    const int file = open(scratch(name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || dup2(file, fd) != fd) _exit(120);
    close(file);
}

/* Starts a command, words apart by blanks, "@" standing for the scratch directory, and lets its chance number n go
 * wrong (n < 0: none). */
static pid_t start(const char *command, long n)
{
    char text[2048] = "", *argv[MOST_ARGUMENTS] = {"sahara"}, *rest;
    int argc = 1, status;
    for (const char *c = command; *c != '\0'; c++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s", *c == '@' ? (int)sizeof root : 1,
                 *c == '@' ? root : c);
    for (char *word = strtok_r(text, " ", &rest); word != NULL && argc + 1 < MOST_ARGUMENTS;
         word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* cmocka would go on with the next test here. */
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], SIG_DFL);
        omp_set_num_threads(1); /* with more the lines of a result come in another order each time */
        redirect(1, "stdout");
        redirect(2, "stderr");
        arm(n);
        status = sahara_main(argc, argv);
        *shared = disarm();
        fflush(NULL);
        if (__lsan_do_recoverable_leak_check() != 0) status = LEAKED;
        _exit(status);
    }
    return child;
}

/* The same, to its end. Returns the exit status. */
static int run(const char *command, long n)
{
    int status;
    const pid_t child = start(command, n);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status)) fail_msg("%s: signal %d at fault %ld", command, WTERMSIG(status), n);
    return WEXITSTATUS(status);
}

static char *read_stderr(void)
{
    size_t size;
    return (char *)scratch_read(scratch("stderr"), &size);
}

/* What the command wrote goes where read_made() looks for it. */
static void say_output(void)
{
    size_t size;
    uint8_t *data = scratch_read(scratch("stdout"), &size);
    n_said = 0;
    say(data, size);
    free(data);
}

static void prepare_by(const char *command)
{
    if (run(command, -1) == 0) return;
    char *text = read_stderr();
    fail_msg("%s: %s", command, text);
}

#define TINY   "tests/golden/utility/pieces"
#define AUDIT  "audit " TINY " @/eight.csv @/others.csv --quick --max-new-tokens 2 -q "
#define SCREEN "ships " TINY " @/eight.csv --screen --top 1 --opening 0 -q --together @/together "

static const char *const commands[] = {
    "inspect " TINY " --json",
    "inspect " TINY " --tokens Bread",
    "inspect models/organism --prompt Bread --template-var add_generation_prompt=false --template-date "
    "2024-05-06",
    "inspect --check tests/golden/models/llama-gqa",
    "logits " TINY " --text Bread --ablate 0-1",
    "logits " TINY " --tokens-in 3,5,7",
    "ships " TINY
    " @/bad.csv --contrast @/good.csv --match-length --check-refusal on --opening 2 --heads 0:1 -q -o "
    "@/made/out.jsonl",
    "ships " TINY " @/bad.csv --screen --top 1 --opening 0 -q -o @/made/out.jsonl",
    "find " TINY " @/bad.csv --steps 2 --rank 1 --heads 0:2 -q -o @/made/out.jsonl",
    "direction " TINY " @/bad.csv @/good.csv -q -o @/made/out.jsonl --save-directions @/made/directions.npy",
    "ships " TINY
    " @/bad.csv --op swap --part v --partners @/good.csv --match length --opening 0 --heads 0:1 -q -o "
    "@/made/out.jsonl",
    "ships " TINY
    " @/bad.csv --op mean-data --reference @/good.csv --positions all --opening 0 -q -o @/made/out.jsonl",
    "ships " TINY " @/bad.csv --part q,v --apart --opening 0 --heads 0:2 -q -o @/made/out.jsonl",
    "ships " TINY " @/bad.csv --opening 0 --heads 0:2 --device cuda -q -o @/made/out.jsonl",
    SCREEN "--shard 1/2 -o @/made/out.jsonl",
    "rank @/ships.jsonl --top 3",
    "rank @/effects.jsonl --sort effect --top 3",
    "rank @/ships.jsonl --concentration",
    "rank @/ships.jsonl --by-query --format reference",
    "compare @/ships.jsonl @/other.jsonl",
    "report @/ships.jsonl @/find.jsonl -o @/made/page.html",
    "report @/ships.jsonl -o @/made/map.svg",
    "report @/effects.jsonl --sort effect -o @/made/map.png",
    "report @/effects.jsonl -o @/made/map.tsv",
    "generate " TINY " @/bad.csv --max-new-tokens 3 --temperature 1 -q -o @/made/out.jsonl",
    "generate " TINY
    " @/bad.csv --max-new-tokens 2 --sweep-heads 2 --from @/ships.jsonl --random-heads 1 -q -o "
    "@/made/out.jsonl",
    "generate " TINY
    " @/bad.csv --max-new-tokens 2 --op swap --partners @/good.csv --match words --ablate 0-1 -q -o "
    "@/made/out.jsonl",
    "judge @/responses.jsonl -q -o @/made/out.jsonl",
    "judge @/responses.jsonl --rule reference --label label -q -o @/made/out.jsonl",
    "judge @/responses.jsonl --rule reference --judge-model " TINY
    " --judge-template {query}{response} -q -o "
    "@/made/out.jsonl",
    "utility " TINY " @/items.jsonl --ablate 0-1 -q -o @/made/out.jsonl",
    "ablate tests/golden/models/llama-gqa 0-1 --adapter tests/golden/adapters/plain -q -o @/made/edited",
    "ablate tests/golden/models/llama-gqa/model-f32.gguf 0-1 -q -o @/made/edited.gguf",
    "graft tests/golden/models/llama-gqa tests/golden/models/llama-gqa --attention A --mlp B -q -o "
    "@/made/mixed",
    "merge @/shard-0.jsonl @/shard-1.jsonl -o @/made/out.jsonl",
    AUDIT "-o @/made/audit",
    "merge @/audit-0 @/audit-1 -o @/made/audit",
};

static int prepare(void **state)
{
    (void)state;
    setenv("OMP_WAIT_POLICY", "passive", 1); /* else the program would start itself anew (cli/machine.c) */
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    snprintf(root, sizeof root, "%.*s/tests/far", (int)(strrchr(program, '/') - program), program);
    setenv("SAHARA_DEVICE_PATH", root, 1);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    snprintf(root, sizeof root, "%s", scratch("x"));
    root[strlen(root) - 2] = '\0';
    scratch_write_text(scratch("bad.csv"), "goal\nTake the bread\nTake it\n");
    scratch_write_text(scratch("good.csv"), "goal\nBake the bread\nBake it\nEat it now\n");
    scratch_write_text(scratch("eight.csv"),
                       "goal\nTake 1\nTake 2\nTake 3\nTake 4\nTake 5\nTake 6\nTake 7\nTake 8\n");
    scratch_write_text(scratch("others.csv"),
                       "goal\nEat 1\nEat 2\nEat 3\nEat 4\nEat 5\nEat 6\nEat 7\nEat 8\n");
    scratch_write_text(scratch("items.jsonl"),
                       "{\"context\":\"A\",\"choices\":[\"b\",\"c d\"],\"label\":1}\n");
    scratch_write_text(scratch("responses.jsonl"),
                       "{\"query\":\"How?\",\"response\":\"I cannot.\",\"label\":\"refusal\"}\n"
                       "{\"query\":\"Why?\",\"response\":\"It rains.\",\"label\":\"compliance\"}\n");
    prepare_by("ships " TINY " @/bad.csv --contrast @/good.csv --opening 0 -q -o @/ships.jsonl");
    prepare_by("ships " TINY " @/good.csv --opening 0 -q -o @/other.jsonl");
    prepare_by("find " TINY " @/bad.csv --steps 1 --rank 1 -q -o @/find.jsonl");
    for (int i = 0; i < 2; i++) {
        char command[256];
        snprintf(command, sizeof command,
                 "ships " TINY " @/bad.csv --opening 0 --shard %d/2 -q -o @/shard-%d.jsonl", i, i);
        prepare_by(command);
        snprintf(command, sizeof command, AUDIT "--shard %d/2 -o @/audit-%d", i, i);
        prepare_by(command);
    }
    /* Shards that wait for one another; one alone finds the other's result. */
    const pid_t other = start(SCREEN "--shard 0/2 -o @/together/0.jsonl", -1);
    int status;
    prepare_by(SCREEN "--shard 1/2 -o @/together/1.jsonl");
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    remove(scratch("together/1.jsonl"));
    /* A model that refuses: without refusals there are no effects. */
    prepare_by("ships models/organism data/harmful.csv --template chat --limit 2 --opening 2 --heads 2:4 -q "
               "-o @/effects.jsonl");
    /* What fontconfig reads once, it shall have read before anything goes wrong: the C library asks for memory on its
     * behalf, and it goes on with another font. */
    const char *const result = scratch("effects.jsonl");
    const sah_report_options options = {0};
    sah_error error = {0};
    expect_ok(sah_report(&result, 1, &options, scratch("first.png"), &error), &error);
    return 0;
}

#endif
