/* SPDX-License-Identifier: Apache-2.0 */
/* threads [fault]: kernels of every kind of barrier on the emulated card with a real thread for each of a block's, for
 * the thread sanitizer, which the Makefile builds it with; with an argument, the kernel whose barrier is missing. Fails
 * where fibers give other bits. */
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/emulator.h"
#include "engine/cuda/kernels.h"

enum { ROWS = 3, D = 40, NODES = 9, HEADS = 2, HEAD = 12, V = 70 };

static std::vector<float> numbers(size_t n)
{
    static unsigned long long state = 3;
    std::vector<float> x(n);
    for (float &number : x) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        number = (float)((double)(state >> 40) * 0x1p-23 - 1.0);
    }
    return x;
}

/* All that the kernels make of the same numbers. */
static std::vector<float> run(emulated_order order, const std::vector<float> &x)
{
    std::vector<float> out(ROWS * D + NODES * HEADS * HEAD + 8),
        heads(x.begin(), x.begin() + NODES * 4 * HEAD);
    std::vector<float> turned(x.begin(), x.begin() + ROWS * 3 * HEAD);
    std::vector<double> p(V);
    std::vector<int> path(NODES);
    sah_config c = {};
    double log_p_sum = 0.0;
    emulated_run(order);
    c.d_model = D;
    c.norm = SAH_NORM_LAYER;
    c.qk_norm = SAH_QK_NORM_HEAD;
    c.norm_eps = 1e-5f;
    std::vector<float> weight(x.begin(), x.begin() + D);
    const sah_norm norm = {weight.data(), weight.data()};
    sah_cuda_norm(nullptr, &c, &norm, x.data(), ROWS, false, out.data());

    sah_rotation rotation = {};
    rotation.q_heads = rotation.k_heads = rotation.v_heads = 1;
    rotation.head_dim = HEAD;
    rotation.q_norm = rotation.k_norm = weight.data();
    std::vector<int> positions(ROWS);
    sah_view view = {};
    view.n = ROWS;
    view.position = positions.data();
    sah_cuda_rotate(nullptr, &c, &rotation, &view, 0, ROWS, 3 * HEAD, turned.data());

    for (int i = 0; i < NODES; i++) path[(size_t)i] = i;
    const sah_segment segment = {0, NODES, 0, path.data()};
    sah_attention at = {};
    at.n_heads = HEADS;
    at.n_kv_heads = 1;
    at.head_dim = HEAD;
    at.scale = 0.3f;
    at.q = heads.data();
    at.k = at.q + HEADS * HEAD;
    at.v = at.k + HEAD;
    at.q_stride = at.k_stride = at.v_stride = 4 * HEAD;
    at.z = out.data() + ROWS * D;
    at.z_stride = HEADS * HEAD;
    view.n = NODES;
    view.segments = &segment;
    view.n_segments = 1;
    view.single = true; /* one block */
    sah_cuda_attend(nullptr, &at, &view);

    sah_cuda_distribution(nullptr, x.data(), V, p.data(), &log_p_sum);
    sah_cuda_score score = {p.data(), log_p_sum, {3, -1}, 0.0, {0.0, 0.0}};
    sah_cuda_scores(nullptr, x.data() + V, 1, V, &score);
    float *last = out.data() + ROWS * D + NODES * HEADS * HEAD;
    last[0] = (float)log_p_sum;
    last[1] = (float)score.kl;
    last[2] = (float)score.log_p[0];
    for (int i = 0; i < 5; i++) last[3 + i] = turned[(size_t)(i * 7)];
    return out;
}

int main(int argc, char **)
{
    const std::vector<float> x = numbers(1024);
    if (argc > 1) {
        std::vector<float> sums(40);
        emulated_run(EMULATED_THREADS);
        planted_sum(PLANTED_BARRIER, x.data(), 40, sums.data());
        return 0;
    }
    const std::vector<float> fibers = run(EMULATED_BACKWARD, x), threads = run(EMULATED_THREADS, x);
    if (memcmp(fibers.data(), threads.data(), fibers.size() * sizeof(float)) != 0) {
        puts("threads give other bits than fibers");
        return 1;
    }
    return 0;
}
