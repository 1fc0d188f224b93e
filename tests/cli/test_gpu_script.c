/* SPDX-License-Identifier: Apache-2.0 */
/* bench/gpu, the script for a machine with a graphics card, among programs that only seem to be CUDA's: that it begins
 * in a folder that is not there, takes PyTorch's cuBLAS of this CUDA, lets programs find it, and tells of what a
 * sanitizer finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "util/scratch.h"

static const char
    NVCC[] = "#!/bin/sh\necho 'Cuda compilation tools, release 77.4, V77.4.1'\n",
    SANITIZER[] = "#!/bin/sh\n[ \"$2\" != \"$FINDS\" ] || { echo found; exit 1; }\necho nothing\n",
    MAKE[] = "#!/bin/sh\ncase \"$*\" in *HAS_CUDA*) exit ;; *CUBLAS_TO*) echo /there/libcublasLt.so; exit ;; "
             "esac\n"
             "[ -z \"$BROKEN\" ] || { echo 'no such kernel' >&2; exit 2; }\nmkdir -p \"$BUILD/tests/cuda\"\n"
             "{ echo '#!/bin/sh'; echo \"echo made with $3, run \\$2 in \\$LD_LIBRARY_PATH\"; } > "
             "\"$BUILD/tests/cuda/gpu\"\nchmod +x \"$BUILD/tests/cuda/gpu\"\n";

static void program(const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "bin/%s", name);
    scratch_write_text(scratch(path), text);
    assert_int_equal(chmod(scratch(path), 0700), 0);
}

/* The script's exit status; `said` has what it says, for free(). */
static int run(const char *environment, const char *folder, char **said)
{
    char command[4096];
    size_t size;
    snprintf(command, sizeof command,
             "env -u CUBLAS -u LD_LIBRARY_PATH PATH=%s:$PATH PYTHONPATH=%s BUILD=%s %s bench/gpu > %s 2>&1",
             scratch("bin"), scratch("site"), scratch(folder), environment, scratch("said"));
    const int status = system(command);
    *said = (char *)scratch_read(scratch("said"), &size);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void expect(const char *said, const char *part, bool there)
{
    if ((strstr(said, part) != NULL) != there) fail_msg("\"%s\" in what it says: %s", part, said);
}

static void test_script(void **state)
{
    char *said, made[256];
    (void)state;
    mkdir(scratch("bin"), 0700);
    program("nvcc", NVCC);
    program("nvidia-smi", NVCC);
    program("make", MAKE);
    program("compute-sanitizer", SANITIZER);
    static const char *const folders[] = {"site",
                                          "site/nvidia",
                                          "site/nvidia/cublas",
                                          "site/nvidia/cublas/include",
                                          "site/nvidia/cu77",
                                          "site/nvidia/cu77/include"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) mkdir(scratch(folders[i]), 0700);
    scratch_write_text(scratch("site/nvidia/cublas/include/cublasLt.h"), "");
    assert_int_equal(run("", "first", &said), 1);
    expect(said, "gpu: there is no cuBLAS for CUDA 77, neither CUDA's nor PyTorch's: CUBLAS=DIR\n", true);
    free(said);

    scratch_write_text(scratch("site/nvidia/cu77/include/cublasLt.h"), "");
    assert_int_equal(run("", "second", &said), 0);
    snprintf(made, sizeof made, "made with CUBLAS=%s, run ", scratch("site/nvidia/cu77"));
    expect(said, made, true);
    expect(said, "run test in /there\n", true);
    expect(said, "run bench in /there\n", true);
    expect(said, " fails", false);
    free(said);

    assert_int_equal(run("FINDS=racecheck", "second", &said), 1);
    expect(said, "gpu: racecheck fails", true);
    expect(said, "gpu: memcheck fails", false);
    expect(said, "run bench in /there\n", true); /* times all the same */
    free(said);

    assert_int_equal(run("BROKEN=1", "third", &said), 1);
    assert_string_equal(said, "no such kernel\n");
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_script)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
