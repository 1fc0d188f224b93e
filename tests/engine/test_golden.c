/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass, fast and plain, against the logits PyTorch computed for tiny models of every family and
 * file type, unedited and under every part and operation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>

#include <cmocka.h>

#include "engine/plain.h"
#include "golden.h"

/* A golden folder, or one GGUF file in it. */
typedef struct source {
    char *directory, *file; /* file NULL: the folder's config.json and weights */
} source;

static source *sources;
static size_t n_sources, capacity;

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

static void add_source(const char *directory, const char *file)
{
    if (n_sources == capacity) sources = realloc(sources, (capacity = 2 * capacity + 16) * sizeof *sources);
    sources[n_sources++] = (source){strdup(directory), file != NULL ? strdup(file) : NULL};
}

static void add_folder(const char *name)
{
    char path[512];
    struct dirent **files;
    snprintf(path, sizeof path, "%s/%s", golden_root(), name);
    int n = scandir(path, &files, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (strcmp(files[i]->d_name, "config.json") == 0) add_source(name, NULL);
        if (ends_in(files[i]->d_name, ".gguf")) add_source(name, files[i]->d_name);
        free(files[i]);
    }
    if (n >= 0) free(files);
}

/* Every folder that has golden numbers. */
static void find_sources(void)
{
    size_t n;
    char **folders = golden_folders(&n);
    for (size_t i = 0; i < n; i++) {
        add_folder(folders[i]);
        free(folders[i]);
    }
    free(folders);
}

static void check_plain(const golden *g, const sah_model *model, const char *what)
{
    sah_error error = {0};
    double *hidden = calloc((size_t)model->config.d_model, sizeof *hidden);
    double *logits = calloc((size_t)model->config.n_vocab, sizeof *logits);
    for (size_t c = 0; c < g->n_cases; c++) {
        size_t n;
        sah_edit *edits = golden_edits(g, c, &n);
        for (size_t p = 0; p < g->n_prompts; p++) {
            assert_int_equal(sah_plain_forward(model->checkpoint, g->prompts[p].tokens, g->prompts[p].n,
                                               edits, n, hidden, logits, &error),
                             SAH_OK);
            golden_compare(g, c, p, logits, model->config.n_vocab, what);
        }
        free(edits);
    }
    free(hidden);
    free(logits);
}

static void test_logits(void **state)
{
    const source *s = *state;
    char what[256];
    golden g;
    golden_open(s->directory, &g);
    sah_model *model = golden_model(s->directory, s->file, NULL);
    snprintf(what, sizeof what, "fast, %s %s", s->directory, s->file != NULL ? s->file : "");
    golden_check(&g, model, what);
    memcpy(what, "slow", 4);
    check_plain(&g, model, what);
    sah_model_close(model);
    golden_close(&g);
}

int main(void)
{
    find_sources();
    if (n_sources == 0) {
        fprintf(stderr, "%s has no golden folder\n", golden_root());
        return 1;
    }
    struct CMUnitTest *tests = calloc(n_sources, sizeof *tests);
    for (size_t i = 0; i < n_sources; i++) {
        char *name = calloc(1, 256);
        snprintf(name, 256, "%s %s", sources[i].directory,
                 sources[i].file != NULL ? sources[i].file : "directory");
        tests[i] = (struct CMUnitTest){name, test_logits, NULL, NULL, &sources[i]};
    }
    int failed = _cmocka_run_group_tests("golden logits", tests, n_sources, NULL, NULL);
    for (size_t i = 0; i < n_sources; i++) {
        free((char *)(uintptr_t)tests[i].name);
        free(sources[i].directory);
        free(sources[i].file);
    }
    free(tests);
    free(sources);
    return failed;
}
