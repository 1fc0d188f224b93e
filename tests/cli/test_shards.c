/* SPDX-License-Identifier: Apache-2.0 */
/* Runs in shards at the command line: merged they are the run in one piece, line for line, whatever their number,
 * with shards killed, repeated and left out; and shards that work together decide as one run does.
 *
 * The environment variable SAHARA names the program. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/scratch.h"

enum { MOST_WORDS = 40, MOST_SHARDS = 64, MOST_LINES = 8192 };

#define HARMFUL  "data/harmful.csv"
#define HARMLESS "data/harmless.csv"
#define MODEL    "models/organism"

static const char SHIPS[] =
    "ships " MODEL " " HARMFUL " --contrast " HARMLESS " --limit 5 --opening 2 --layers 1:4";
static const char FIND[] = "find " MODEL " " HARMFUL " --contrast " HARMLESS " --limit 6";
static const char UTILITY[] =
    "utility " MODEL " data/utility-organism.jsonl --template chat --ablate 3-3 --limit 20 --memory 8M";

/* ---- The program --------------------------------------------------------------------------------------- */

/* Starts "sahara COMMAND MORE..."; what it says goes to `said`. */
static pid_t start(const char *command, const char *more, const char *said)
{
    char line[1024], *words[MOST_WORDS], *rest;
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    size_t n = 0;
    snprintf(line, sizeof line, "%s %s", command, more);
    words[n++] = (char *)(uintptr_t)program;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        assert_true(n + 1 < MOST_WORDS);
        words[n++] = word;
    }
    words[n] = NULL;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("OMP_NUM_THREADS", "1", 1);
        if (freopen(said, "w", stderr) == NULL) _exit(126);
        execv(program, words);
        _exit(127);
    }
    return pid;
}

static int finish(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void run(const char *command, const char *more)
{
    const char *said = scratch("said");
    int code = finish(start(command, more, said));
    if (code == 0) return;
    size_t size;
    char *text = (char *)scratch_read(said, &size);
    fail_msg("%s %s: status %d: %s", command, more, code, text);
}

/* The command must end in `status`, having said `part`. */
static void expect(const char *command, const char *more, int status, const char *part)
{
    size_t size;
    const char *path = scratch("said");
    assert_int_equal(finish(start(command, more, path)), status);
    char *text = (char *)scratch_read(path, &size);
    if (strstr(text, part) == NULL) fail_msg("%s %s says \"%s\", not \"%s\"", command, more, text, part);
    free(text);
}

/* ---- Files --------------------------------------------------------------------------------------------- */

/* FOLDER/I.jsonl of the scratch folder, good for some calls. */
static const char *shard_path(const char *folder, int i)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%d.jsonl", folder, i);
    return scratch(name);
}

static void run_shard(const char *command, const char *folder, int i, int n)
{
    char more[512];
    snprintf(more, sizeof more, "-q --shard %d/%d -o %s", i, n, shard_path(folder, i));
    run(command, more);
}

static void run_shards(const char *command, const char *folder, int n)
{
    mkdir(scratch(folder), 0700);
    for (int i = 0; i < n; i++) run_shard(command, folder, i, n);
}

/* "A B C -o OUT" of the shards from..to-1. */
static const char *list(const char *folder, int from, int to, const char *out)
{
    static char text[MOST_SHARDS * 128];
    size_t n = 0;
    for (int i = from; i < to; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s ", shard_path(folder, i));
    snprintf(text + n, sizeof text - n, "-o %s", out);
    return text;
}

/* The command line of merge does not fit the other's: its words are many. */
static int merge(const char *folder, int from, int to, const char *out)
{
    char said[512];
    snprintf(said, sizeof said, "%s", scratch("said"));
    char *words[MOST_SHARDS + 8], *rest, *line = strdup(list(folder, from, to, out));
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    size_t n = 0;
    words[n++] = (char *)(uintptr_t)program;
    words[n++] = (char *)(uintptr_t) "merge";
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    words[n] = NULL;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen(said, "w", stderr) == NULL) _exit(126);
        execv(program, words);
        _exit(127);
    }
    free(line);
    return finish(pid);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a file in order, joined; for free(). */
static char *sorted(const char *path)
{
    size_t size, n = 0;
    static char *lines[MOST_LINES];
    char *rest, *text = (char *)scratch_read(path, &size), *out = calloc(1, size + 2), *end = out;
    assert_true(size > 0 && text[size - 1] == '\n');
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        assert_true(n < MOST_LINES);
        lines[n++] = line;
    }
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) end += sprintf(end, "%s\n", lines[i]);
    free(text);
    return out;
}

static void check_same(const char *a, const char *b)
{
    char *x = sorted(a), *y = sorted(b);
    if (strcmp(x, y) != 0) {
        size_t at = 0;
        while (x[at] == y[at]) at++;
        fail_msg("%s and %s differ at byte %zu: \"%.60s\" and \"%.60s\"", a, b, at,
                 x + at - (at < 20 ? at : 20), y + at - (at < 20 ? at : 20));
    }
    free(x);
    free(y);
}

/* ---- Every command, every number ----------------------------------------------------------------------- */

static void check_shards(const char *command, const char *name, int n, bool last_line)
{
    char one[512], all[600], folder[64], more[700];
    size_t size;
    snprintf(one, sizeof one, "%s", scratch(name));
    snprintf(more, sizeof more, "-q -o %s", one);
    run(command, more);
    snprintf(folder, sizeof folder, "%s-%d", name, n);
    run_shards(command, folder, n);
    snprintf(all, sizeof all, "%s.jsonl", scratch(folder));
    assert_int_equal(merge(folder, 0, n, all), 0);
    char *said = (char *)scratch_read(scratch("said"), &size);
    assert_true((said[0] == '\0') != (last_line && n > 1));
    free(said);
    if (last_line) { /* which is made of all others */
        snprintf(more, sizeof more, "-q -o %s", all);
        run(command, more);
    }
    check_same(all, one);
}

static void test_ships(void **state)
{
    (void)state;
    check_shards(SHIPS, "ships", 1, false);
    check_shards(SHIPS, "ships", 3, false);
    check_shards(SHIPS, "ships", 8, false);
    check_shards(SHIPS, "ships", 64, false); /* more than heads */
}

static void test_find_one_step(void **state)
{
    (void)state;
    check_shards(FIND, "find", 1, false);
    check_shards(FIND, "find", 3, false);
    check_shards("find " MODEL " " HARMFUL " --limit 6 --part k --layers 1:3", "find-keys", 2, false);
    check_shards("find " MODEL " " HARMFUL " --limit 6 --start 3-3", "find-start", 2, true);
}

/* Where the union cannot be read back, it is not: a pipe would be waited for without end. */
static void test_merge_to_a_pipe(void **state)
{
    (void)state;
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    char line[MOST_SHARDS * 128 + 1024], fifo[400];
    run_shards("find " MODEL " " HARMFUL " --limit 2", "pipe", 2);
    snprintf(fifo, sizeof fifo, "%s", scratch("fifo"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(line, sizeof line, "timeout 20 %s merge %s 0<> %s > /dev/null 2> /dev/null", program,
             list("pipe", 0, 2, "-"), fifo);
    assert_int_equal(system(line), 0);
    snprintf(line, sizeof line, "%s merge %s 2> /dev/null | grep -c '\"head\"' > /dev/null", program,
             list("pipe", 0, 2, "/dev/stdout"));
    assert_int_equal(system(line), 0);
}

static void test_generate(void **state)
{
    (void)state;
    char command[600];
    scratch_write_text(scratch("queries"), "How to starve a goat?\nTell me a story\nHow to starve a goat?\n"
                                           "How do I bake bread?\nTell me a story\nHow to starve a goat?\n");
    snprintf(command, sizeof command,
             "generate " MODEL " %s --template chat --max-new-tokens 5 --top-k 20 --seed 3",
             scratch("queries"));
    check_shards(command, "generate", 3, false);
    check_shards(command, "generate", 64, false);
    run(SHIPS, "-q -o /dev/null");
    char more[600];
    snprintf(more, sizeof more, "-q -o %s", scratch("order"));
    run(SHIPS, more);
    snprintf(command, sizeof command,
             "generate " MODEL
             " %s --template chat --max-new-tokens 3 --sweep-heads 2 --random-heads 1 --from %s",
             scratch("queries"), scratch("order"));
    check_shards(command, "curve", 4, false);
    snprintf(command, sizeof command,
             "generate " MODEL
             " %s --template chat --max-new-tokens 3 --sweep-heads 1,3 --random-heads 1 --from %s",
             scratch("queries"), scratch("order"));
    check_shards(command, "curve-counts", 3, false);
}

static void test_utility(void **state)
{
    (void)state;
    char command[600];
    check_shards(UTILITY, "utility", 3, false);
    snprintf(command, sizeof command, "%s --perplexity data/README.md --window 64", UTILITY);
    check_shards(command, "utility-both", 5, false);
    check_shards("utility " MODEL " --perplexity data/README.md --window 50 --memory 8M", "utility-text", 2,
                 false);
}

/* ---- Audits -------------------------------------------------------------------------------------------- */

/* Folders are united file by file, and the audit of the united ones ends as one in one piece does. */
static void test_audit(void **state)
{
    (void)state;
    static const char AUDIT[] = "audit " MODEL " " HARMFUL " " HARMLESS " --quick --limit 16";
    static const char *const CARDS[] = {"card.json", "card.md", "card.html", "harmful.jsonl",
                                        "ships-q.jsonl"};
    char one[400], parts[2][400], all[400], more[1300];
    struct stat info;
    snprintf(one, sizeof one, "%s", scratch("audit"));
    snprintf(all, sizeof all, "%s", scratch("audit-all"));
    snprintf(more, sizeof more, "-q -o %s", one);
    run(AUDIT, more);
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "audit-%d", i);
        snprintf(parts[i], sizeof parts[i], "%s", scratch(name));
        snprintf(more, sizeof more, "-q --shard %d/2 -o %s", i, parts[i]);
        run(AUDIT, more);
        snprintf(more, sizeof more, "%s/card.json", parts[i]);
        assert_int_not_equal(stat(more, &info), 0);
    }
    /* One shard alone, then the other as well. */
    snprintf(more, sizeof more, "%s -o %s", parts[1], all);
    expect("merge", more, 0, "ships-q.jsonl: 16 of 32 are missing");
    snprintf(more, sizeof more, "%s %s -o %s", parts[0], parts[1], all);
    expect("merge", more, 0, "without --shard");
    snprintf(more, sizeof more, "-q -o %s", all);
    run(AUDIT, more);
    for (size_t i = 0; i < sizeof CARDS / sizeof *CARDS; i++) {
        char a[600], b[600];
        snprintf(a, sizeof a, "%s/%s", one, CARDS[i]);
        snprintf(b, sizeof b, "%s/%s", all, CARDS[i]);
        check_same(a, b);
    }
    snprintf(more, sizeof more, "%s %s/harmful.jsonl -o %s", parts[0], parts[1], all);
    expect("merge", more, 2, "give either files or folders");
    expect("merge", parts[0], 2, "-o OUT");
}

/* ---- Killed, repeated, missing ------------------------------------------------------------------------- */

/* Leaves a journal as a kill leaves it: with a last line that was cut short. */
static void cut(const char *path, size_t lines)
{
    size_t size, at = 0;
    uint8_t *data = scratch_read(path, &size);
    while (lines-- > 0) at += (size_t)((uint8_t *)memchr(data + at, '\n', size - at) - (data + at)) + 1;
    assert_true(at + 7 < size);
    scratch_write(path, data, at + 7);
    free(data);
}

static void test_killed(void **state)
{
    (void)state;
    char one[512], all[512], more[700], part[700];
    size_t size;
    snprintf(one, sizeof one, "%s", scratch("one.jsonl"));
    snprintf(all, sizeof all, "%s", scratch("all.jsonl"));
    snprintf(more, sizeof more, "-q -o %s", one);
    run(SHIPS, more);
    run_shards(SHIPS, "killed", 8);
    cut(shard_path("killed", 2), 2);
    cut(shard_path("killed", 5), 1);
    assert_int_equal(merge("killed", 0, 8, all), 0);
    char *said = (char *)scratch_read(scratch("said"), &size);
    if (strstr(said, "5 of 24 are missing: ") == NULL) fail_msg("%s", said);
    snprintf(part, sizeof part, "--shard 2/8 -o %s\n", shard_path("killed", 2));
    assert_non_null(strstr(said, part));
    /* Nothing tells which shard's a file without units is. */
    assert_non_null(strstr(said, "--shard 5/8 -o ANOTHER.jsonl\n"));
    assert_null(strstr(said, "--shard 3/8"));
    free(said);
    /* What it says to do. */
    run_shard(SHIPS, "killed", 2, 8);
    run_shard(SHIPS, "killed", 5, 8);
    assert_int_equal(merge("killed", 0, 8, all), 0);
    check_same(all, one);
    /* A merge that lacks shards carries on without them. */
    snprintf(all, sizeof all, "%s", scratch("half.jsonl"));
    assert_int_equal(merge("killed", 0, 4, all), 0);
    said = (char *)scratch_read(scratch("said"), &size);
    assert_non_null(strstr(said, "12 of 24 are missing"));
    assert_non_null(strstr(said, "--shard 7/8"));
    free(said);
    snprintf(more, sizeof more, "-q -o %s", all);
    run(SHIPS, more);
    check_same(all, one);
}

static void copy(const char *from, const char *to)
{
    size_t size;
    uint8_t *data = scratch_read(from, &size);
    scratch_write(to, data, size);
    free(data);
}

static void test_repeated(void **state)
{
    (void)state;
    char one[512], all[512], more[700];
    size_t size;
    snprintf(one, sizeof one, "%s", scratch("again.jsonl"));
    snprintf(all, sizeof all, "%s", scratch("all-again.jsonl"));
    snprintf(more, sizeof more, "-q -o %s", one);
    run(SHIPS, more);
    run_shards(SHIPS, "repeated", 3);
    copy(shard_path("repeated", 1), shard_path("repeated", 3));
    cut(shard_path("repeated", 1), 3);
    assert_int_equal(merge("repeated", 0, 4, all), 0);
    check_same(all, one);
    /* A score that is another is an error, and nothing is written. */
    char *text = (char *)scratch_read(shard_path("repeated", 3), &size),
         *digit = strstr(text, "\"kl\":[") + 6;
    *digit = *digit == '0' ? '1' : '0';
    scratch_write(shard_path("repeated", 3), text, size);
    snprintf(all, sizeof all, "%s", scratch("none.jsonl"));
    assert_int_equal(merge("repeated", 0, 4, all), 1);
    assert_int_not_equal(access(all, F_OK), 0);
    free(text);
    text = (char *)scratch_read(scratch("said"), &size);
    assert_non_null(strstr(text, "differs: line 2 of"));
    free(text);
}

/* The first file of `folder` with the first `from` of it replaced by `to`, and what merge says of it. */
static void expect_damage(const char *folder, const char *from, const char *to, const char *says)
{
    char more[1200];
    size_t size;
    char *text = (char *)scratch_read(shard_path(folder, 0), &size), *at = strstr(text, from);
    assert_non_null(at);
    FILE *file = fopen(scratch("damaged.jsonl"), "wb");
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(file);
    free(text);
    snprintf(more, sizeof more, "%s -o %s", scratch("damaged.jsonl"), scratch("x.jsonl"));
    expect("merge", more, 1, says);
    assert_int_not_equal(access(scratch("x.jsonl"), F_OK), 0);
}

static void test_refused(void **state)
{
    (void)state;
    char more[1200];
    run_shards(SHIPS, "refused", 2);
    snprintf(more, sizeof more, "-q --scale 0.5 -o %s", shard_path("refused", 2));
    run(SHIPS, more);
    snprintf(more, sizeof more, "%s %s -o %s", shard_path("refused", 0), shard_path("refused", 2),
             scratch("x.jsonl"));
    expect("merge", more, 1, "are from different runs: settings.scale: 0.0001 there, 0.5 here");
    snprintf(more, sizeof more, "%s README.md -o %s", shard_path("refused", 0), scratch("x.jsonl"));
    expect("merge", more, 1, "README.md: not a result file of this program");
    const char *says = "damaged.jsonl: line 2 is not a line of ships";
    expect_damage("refused", "{\"head\":\"", "{\"head\":\"7", says); /* no such layer */
    expect_damage("refused", "\",\"kl\"", "9\",\"kl\"", says); /* no such head */
    expect_damage("refused", "\"kl\":[", "\"kl\":[1,", says); /* a value too many */
    scratch_write_text(scratch("mine"), "my notes\n");
    snprintf(more, sizeof more, "%s -o %s", shard_path("refused", 0), scratch("mine"));
    expect("merge", more, 1, "not a result file");
    snprintf(more, sizeof more, "%s -o %s", scratch("nowhere.jsonl"), scratch("x.jsonl"));
    expect("merge", more, 1, "No such file");
    scratch_write_text(scratch("empty.jsonl"), "{\"sahara\":\"shi");
    snprintf(more, sizeof more, "%s -o %s", scratch("empty.jsonl"), scratch("x.jsonl"));
    expect("merge", more, 1, "no shard has a complete line yet");
    expect("merge", "", 2, "an argument is missing");
    expect(SHIPS, "--shard 2/2", 2, "--shard: shard 2 of 2");
    expect(FIND, "--steps 2 --shard 0/2", 2, "--together DIR");
    expect(FIND, "--screen --shard 0/2", 2, "--together DIR");
    expect(SHIPS, "--screen --shard 0/2", 2, "--together DIR");
}

/* ---- Together ------------------------------------------------------------------------------------------ */

/* Waits until the file has `mark` in it, or the program has ended. */
static void wait_for(pid_t pid, const char *path, const char *mark)
{
    for (bool there = false; !there;) {
        siginfo_t info = {0};
        size_t size;
        if (access(path, R_OK) == 0) {
            char *text = (char *)scratch_read(path, &size);
            there = strstr(text, mark) != NULL;
            free(text);
        }
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) return;
        usleep(1000);
    }
}

/* Three shards at once, one of which is killed when its journal has `mark` in it, and started again. */
static void check_together(const char *command, const char *name, const char *mark)
{
    char one[512], all[600], folder[512], more[4096];
    pid_t pids[3];
    snprintf(one, sizeof one, "%s.jsonl", scratch(name));
    snprintf(folder, sizeof folder, "%s", scratch(name));
    snprintf(all, sizeof all, "%s-all.jsonl", folder);
    snprintf(more, sizeof more, "-q -o %s", one);
    run(command, more);
    for (int i = 0; i < 3; i++) {
        snprintf(more, sizeof more, "-q --shard %d/3 --together %s", i, folder);
        pids[i] = start(command, more, "/dev/null");
    }
    snprintf(more, sizeof more, "%s/shard-1-of-3.jsonl", folder);
    wait_for(pids[1], more, mark);
    kill(pids[1], SIGKILL);
    finish(pids[1]);
    snprintf(more, sizeof more, "-q --shard 1/3 --together %s", folder);
    pids[1] = start(command, more, "/dev/null");
    for (int i = 0; i < 3; i++) assert_int_equal(finish(pids[i]), 0);
    snprintf(more, sizeof more, "%s/shard-0-of-3.jsonl %s/shard-1-of-3.jsonl %s/shard-2-of-3.jsonl -o %s",
             folder, folder, folder, all);
    expect("merge", more, 0, "");
    check_same(all, one);
}

static void test_together(void **state)
{
    (void)state;
    static const char SEARCH[] =
        "find " MODEL " " HARMFUL " --contrast " HARMLESS " --limit 10 --steps 3 --random-groups 5";
    static const char SCREENED[] =
        "find " MODEL " " HARMFUL " --limit 60 --steps 3 --random-groups 1 --screen --top 4";
    check_together(SEARCH, "search", "\"step\":0,\"head\"");
    check_together(SEARCH, "search-later", "\"step\":1,\"head\"");
    check_together("find " MODEL " " HARMFUL
                   " --limit 10 --steps 2 --random-groups 9 --layers 3:4 --heads 0:3",
                   "small-search", "\"random\""); /* random groups that are equal */
    check_together(SCREENED, "screened", "\"sample\"");
    check_together(SCREENED, "screened-later", "\"step\":1,\"head\"");
    check_together("ships " MODEL " " HARMFUL " --contrast " HARMLESS
                   " --limit 40 --opening 2 --screen --top 3",
                   "race", "\"round\":1");
}

static void test_together_refused(void **state)
{
    (void)state;
    char folder[512], more[4096];
    snprintf(folder, sizeof folder, "%s", scratch("mixed"));
    mkdir(folder, 0700);
    snprintf(more, sizeof more, "-q --rank 2 --steps 2 -o %s/other.jsonl", folder);
    run(FIND, more);
    snprintf(more, sizeof more, "-q --steps 2 --shard 0/2 --together %s", folder);
    expect(FIND, more, 1, "other.jsonl: a shard of another run: settings.rank: 2 there, 1 here");
    snprintf(more, sizeof more, "-q --steps 2 --shard 0/2 -o - --together %s", folder);
    expect(FIND, more, 2, "a shard that others wait for must write a file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ships),
        cmocka_unit_test(test_find_one_step),
        cmocka_unit_test(test_merge_to_a_pipe),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_utility),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_together_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
