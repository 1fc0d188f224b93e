/* SPDX-License-Identifier: Apache-2.0 */
/* Bad input at the command line. Each case is a line of shell in a folder of small files; its last command
 * must end with the status the case names (1: the work failed, 2: wrong usage), with exactly one line on
 * standard error, which begins "sahara: " and names what is wrong.
 *
 * The environment variable SAHARA names the program. In the folder, made afresh for every case:
 *
 *   model/ tiny.gguf       models that work (planted, 4 layers of 4 heads on 2; golden llama-gqa)
 *   q.csv c.txt            harmful queries, harmless ones
 *   ships.jsonl            the result of `sahara ships model q.csv --contrast c.txt`
 *   direction.jsonl        the result of `sahara direction model q.csv c.txt`
 *   find.jsonl             the result of `sahara find model q.csv --steps 3`
 *   responses.jsonl        the result of `sahara generate model q.csv`
 *   items.jsonl            items for utility
 *
 * Shell functions: `sahara` runs the program; `spoil FILE TEXT` makes bad/, the model with FILE holding TEXT;
 * `cut FILE BYTES` the same with only so many bytes of FILE; `put FILE TEXT` writes a file; `swap FILE A B`
 * makes bad/ with the first A in FILE's lines replaced by B. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "models/planted.h"
#include "util/scratch.h"

typedef struct bad_case {
    int status;
    const char *names; /* part of the line */
    const char *script;
} bad_case;

static const char prelude[] = "export OMP_NUM_THREADS=1 LC_ALL=C\n"
                              "sahara() { \"$PROGRAM\" \"$@\"; }\n"
                              "put() { printf \"$2\" > $1; }\n"
                              "spoil() { cp -r model bad; printf \"$2\" > bad/$1; }\n"
                              "cut() { cp -r model bad; head -c $2 model/$1 > bad/$1; }\n"
                              "swap() { cp -r model bad; sed \"s|$2|$3|\" model/$1 > bad/$1; }\n";

static const bad_case usage[] = {
    {2, "no command paint", "sahara paint"},
    {2, "MODEL QUERIES", "sahara ships model"},
    {2, "too many arguments: \"c.txt\"", "sahara ships model q.csv c.txt"},
    {2, "too many arguments: \"model\"", "sahara logits model model --text a"},
    {2, "an argument is missing", "sahara inspect"},
    {2, "an argument is missing", "sahara rank"},
    {2, "an argument is missing", "sahara judge"},
    {2, "an argument is missing", "sahara generate model"},
    {2, "an argument is missing", "sahara utility"},
    {2, "an argument is missing", "sahara direction model q.csv"},
    {2, "an argument is missing", "sahara bench"},
    {2, "--perplexity", "sahara utility model"},
    {2, "--frobnicate", "sahara ships model q.csv --frobnicate"},
    {2, "-z", "sahara inspect model -z"},
    {2, "--rule", "sahara ships model q.csv --rule default"},
    {2, "--limit", "sahara ships model q.csv --limit"},
    {2, "--limit 0: expected N, a whole number from 1 on", "sahara ships model q.csv --limit 0"},
    {2, "--limit", "sahara ships model q.csv --limit many"},
    {2, "--quiet", "sahara ships model q.csv --quiet=yes"},
    {2, "expected N, a whole number from 1 to 1024", "sahara ships model q.csv -t -1"},
    {2, "--threads", "sahara ships model q.csv -t 99999999999999999999"},
    {2, "--memory 12X: expected SIZE, as in 512M", "sahara ships model q.csv --memory 12X"},
    {2, "--memory", "sahara ships model q.csv --memory nan"},
    {2, "memory", "sahara ships model q.csv -q --memory 1K"},
    {2, "--precision", "sahara ships model q.csv --precision f64"},
    {2, "--part", "sahara ships model q.csv --part x"},
    {2, "--part", "sahara ships model q.csv --part q,q,"},
    {2, "--op", "sahara ships model q.csv --op zero"},
    {2, "--scale nan: expected F, a number", "sahara ships model q.csv --scale nan"},
    {2, "--scale", "sahara ships model q.csv --scale 1e999"},
    {2, "--layers 3:3: expected A:B, whole numbers with A below B", "sahara ships model q.csv --layers 3:3"},
    {2, "--layers", "sahara ships model q.csv --layers 1-2"},
    {2, "--layers 0:5: the model has", "sahara ships model q.csv --layers 0:5"},
    {1, "cannot write nowhere/out", "sahara ships model q.csv -o nowhere/out"},
    {2, "heads", "sahara ships model q.csv -q --heads 2:9"},
    {2, "heads", "sahara ships model q.csv -q --part k --heads 0:4"},
    {2, "4-0", "sahara logits model --text a --ablate 4-0"},
    {2, "0-4", "sahara logits model --text a --ablate 0-4"},
    {2, "0-2", "sahara logits model --text a --part k --ablate 0-2"},
    {2, "1-1", "sahara logits model --text a --ablate 1-1,1-1"},
    {2, "1.1", "sahara logits model --text a --ablate 1.1"},
    {2, "0-99999999999999", "sahara generate model q.csv -q --ablate 0-99999999999999"},
    {2, "5-5", "sahara utility model items.jsonl -q --ablate 5-5"},
    {2, "--text", "sahara logits model"},
    {2, "--text", "sahara logits model --text a --tokens-in 1"},
    {2, "--tokens-in", "sahara logits model --tokens-in '1 x'"},
    {2, "--tokens-in", "sahara logits model --tokens-in ''"},
    {2, "999999", "sahara logits model --tokens-in 999999"},
    {2, "--text", "sahara logits model --text ''"},
    {2, "--partners", "sahara logits model --text a --op swap --ablate 0-1"},
    {2, "--partners", "sahara ships model q.csv -q --partners c.txt"},
    {2, "--match", "sahara ships model q.csv -q --op mean --match"},
    {2, "--match", "sahara ships model q.csv -q --op swap --match length"},
    {2, "--direction", "sahara ships model q.csv -q --op swap --partners c.txt --direction up"},
    {2, "--reference", "sahara ships model q.csv -q --op mean-data"},
    {2, "--reference", "sahara ships model q.csv -q --op swap --reference c.txt"},
    {2, "--contrast", "sahara ships model q.csv -q --op swap --partners c.txt --contrast-partners c.txt"},
    {1, "partner", "sahara ships model q.csv -q --op swap"},
    {1, "partner", "sahara generate model q.csv -q --op swap --ablate 0-1"},
    {2, "p.txt: 5 partners for",
     "printf 'a\nb\nc\nd\ne\n' > p.txt; sahara ships model q.csv -q --op swap --partners p.txt"},
    {2, "too many arguments: \"wrds\"",
     "sahara ships model q.csv -q --op swap --partners c.txt --match wrds"},
    {1, "none.txt", "sahara find model q.csv -q --op mean-data --reference none.txt"},
    {2, "swap", "sahara utility model items.jsonl -q --op swap --ablate 0-1"},
    {2, "mean-data", "sahara ablate model 0-1 --op mean-data -o edited"},
    {1, "template", "sahara ships model q.csv -q --template chat"},
    {2, "template", "sahara ships model q.csv -q --template nosuch"},
    {2, "system", "sahara ships model q.csv -q --system 'Be good.'"},
    {2, "--top", "sahara rank ships.jsonl --top 0"},
    {2, "--format", "sahara rank ships.jsonl --format xml"},
    {2, "--sort", "sahara rank ships.jsonl --sort size"},
    {2, "a number from 0 on", "sahara generate model q.csv --temperature -1"},
    {2, "a number above 0 and up to 1", "sahara generate model q.csv --top-p 1.5"},
    {2, "--top-k", "sahara generate model q.csv --top-k 0"},
    {2, "--max-new-tokens", "sahara generate model q.csv --max-new-tokens 0"},
    {2, "--seed -4: expected N, a whole number from 0 on", "sahara generate model q.csv --seed -4"},
    {2, "--from", "sahara generate model q.csv -q --sweep-heads 2"},
    {2, "-o FILE.html", "sahara report ships.jsonl"},
    {2, ".svg", "sahara report ships.jsonl -o map.pdf"},
    {1, "responses.jsonl", "sahara report responses.jsonl -o map.svg"},
    {1, "c.txt", "sahara report ships.jsonl c.txt -o page.html"},
    {1, "no/page.html", "sahara report ships.jsonl -o no/page.html"},
    {2, "--judge-model", "sahara judge responses.jsonl --judge-template {response}"},
    {2, "--judge-threshold 2: expected P, a number from 0 to 1",
     "sahara judge responses.jsonl --judge-model model --judge-threshold 2"},
    {1, "--judge-template", "sahara judge responses.jsonl -q --judge-model model"},
    {2, "{response}", "sahara judge responses.jsonl -q --judge-model model --judge-template {query}"},
    {1, "no/such", "sahara judge responses.jsonl -q --judge-model no/such"},
    {2, "--rule", "sahara judge responses.jsonl --rule strict"},
    {2, "--window", "sahara utility model --perplexity c.txt --window 0"},
    {2, "--layer", "sahara direction model q.csv c.txt -q --layer 77"},
    {2, "--column", "sahara bench model --column goal"},
    {2, "--match-length needs --contrast", "sahara ships model q.csv --match-length"},
    {2, "--match-length needs --contrast", "sahara find model q.csv --match-length"},
    {2, "--opening-kl needs openings", "sahara ships model q.csv --opening 0 --opening-kl"},
    {2, "at least 8 harmful", "sahara audit model q.csv c.txt --limit 4 -o out"},
};

/* The greedy search. */
static const bad_case searches[] = {
    {2, "an argument is missing", "sahara find model"},
    {2, "too many arguments", "sahara find model q.csv c.txt -o out"},
    {2, "--steps", "sahara find model q.csv --steps 0 -o out"},
    {2, "--steps 17", "sahara find model q.csv -q --steps 17 -o out"},
    {2, "--steps 3", "sahara find model q.csv -q --layers 1:2 --heads 0:2 --steps 3 -o out"},
    {2, "--rank", "sahara find model q.csv --rank 0 -o out"},
    {2, "rank 12", "sahara find model q.csv -q --rank 12 -o out"},
    {2, "1 query", "sahara find model q.csv -q --limit 1 -o out"},
    {2, "contrast", "head -n 1 c.txt > c1.txt; sahara find model q.csv -q --contrast c1.txt -o out"},
    {2, "--variant", "sahara find model q.csv --variant both -o out"},
    {2, "--rank 2: the spectral", "sahara find model q.csv -q --variant spectral --rank 2 -o out"},
    {2, "2-1", "sahara find model q.csv -q --start 2-1,0-0,2-1 -o out"},
    {2, "4-0", "sahara find model q.csv -q --start 4-0 -o out"},
    {2, "0-4", "sahara find model q.csv -q --start 0-4 -o out"},
    {2, "0-2", "sahara find model q.csv -q --part k --start 0-2 -o out"},
    {2, "a", "sahara find model q.csv -q --start a -o out"},
    {2, "--shortlist 2", "sahara find model q.csv -q --steps 3 --shortlist 2 -o out"},
    {2, "--shortlist", "sahara find model q.csv --shortlist 0 -o out"},
    {2, "--top", "sahara find model q.csv -q --top 3 -o out"},
    {2, "--top 2: fewer heads", "sahara find model q.csv -q --screen --top 2 --steps 3 -o out"},
    {2, "--screen: cannot be combined with a starting group",
     "sahara find model q.csv -q --screen --start 0-0 -o out"},
    {2, "--layers 1:9: the model has", "sahara find model q.csv -q --layers 1:9 -o out"},
    {2, "--part: \"x\": write q", "sahara find model q.csv -q --part x -o out"},
    {2, "--random-groups", "sahara find model q.csv --random-groups -1 -o out"},
    {2, "--seed", "sahara find model q.csv --seed x -o out"},
    {1, "span 1 direction",
     "for i in 1 2 3; do echo 'how can I make a lamp'; done > same.txt; "
     "sahara find model same.txt -q --rank 2 -o out; status=$?; rm -f out; exit $status"},
    {1, "nowhere/states.npy",
     "sahara find model q.csv -q --layers 0:1 --save-states nowhere/states.npy -o out; "
     "status=$?; rm -f out; exit $status"},
};

/* Commands that make checkpoints and comparisons. */
static const bad_case checkpoints[] = {
    {2, "an argument is missing", "sahara ablate"},
    {2, "too many arguments", "sahara ablate model 2-1 model -o out"},
    {2, "-o", "sahara ablate model 2-1"},
    {2, "9-9", "sahara ablate model 9-9 -o out"},
    {2, "2-1", "sahara ablate model 2-1,2-1 -o out"},
    {2, "2.1", "sahara ablate model 2.1 -o out"},
    {1, "nowhere", "sahara ablate nowhere 2-1 -o out"},
    {2, "is the input", "sahara ablate model 2-1 -o model"},
    {1, "made", "mkdir made; put made/x y; sahara ablate model 2-1 -o made"},
    {1, "nowhere/out", "sahara ablate model 2-1 -o nowhere/out"},
    {1, "model.safetensors", "cut model.safetensors 100000; sahara ablate bad 2-1 -o out"},
    {1, "x.gguf", "head -c 20000 tiny.gguf > x.gguf; sahara ablate x.gguf 0-1 -o out"},
    {1, "out", "ulimit -f 1; sahara ablate model 2-1 -o out"},
    {1, "out", "ulimit -f 1; sahara ablate tiny.gguf 0-1 -o out"},
    {2, "-o", "sahara ablate model 2-1 -q"},
    {2, "HEADS", "sahara ablate model -o out"},
    {2, "2-9", "sahara ablate model 2-1,2-9 -o out"},
    {2, "2-2", "sahara ablate model 2-2 --part k -o out"},
    {2, "grouped-query", "sahara ablate model 2-1 --part v --op mean -o out"},
    {2, "--part", "sahara ablate model 2-1 --part o -o out"},
    {2, "--scale", "sahara ablate model 2-1 --scale inf -o out"},
    {2, "--limit", "sahara ablate model 2-1 --limit 3 -o out"},
    {1, "not finite",
     "sahara ablate model 2-1 --scale 1e30 -q -o huge && sahara ablate huge 2-1 --scale 1e30 -o out"},
    {1, "adapter_model.safetensors", "sahara ablate model --adapter . -o out"},
    {2, "is the input", "sahara ablate tiny.gguf 0-1 -o tiny.gguf"},
    {2, "is the input", "ln -s model same; sahara ablate model 2-1 -o same"},
    {1, "already exists", "ln -s nowhere made; sahara ablate model 2-1 -o made"},
    {1, "/dev/full", "sahara ablate tiny.gguf 0-1 -o /dev/full"},
    {1, "q.csv/out", "sahara ablate model 2-1 -o q.csv/out"},
    {1, "sahara.json", "cp -r model bad; put bad/sahara.json '{'; sahara ablate bad 2-1 -o out"},
    {2, "an argument is missing", "sahara graft model"},
    {2, "--attention", "sahara graft model model --attention C --mlp A -o out"},
    {2, "-o", "sahara graft model model --attention A --mlp B"},
    {1, "nowhere", "sahara graft model nowhere --attention A --mlp B -o out"},
    {2, "--mlp", "sahara graft model model --attention A -o out"},
    {2, "--rest", "sahara graft model model --attention A --mlp B --rest model -o out"},
    {2, "too many arguments", "sahara graft model model model --attention A --mlp B -o out"},
    {1, "format safetensors in the first, gguf in the second",
     "sahara graft model tiny.gguf --attention A --mlp B -o out"},
    {1, "sliding window 0 in the first, 4 in the second",
     "cp -r model bad; sed 's/LlamaFor/MistralFor/; s/\"model_type\": \"llama\"/\"model_type\": \"mistral\", "
     "\"sliding_window\": null/' model/config.json > bad/config.json; cp -r bad worse; "
     "sed 's/null/4/' bad/config.json > worse/config.json; sahara graft bad worse --attention A --mlp B -o "
     "out"},
    {1, "RoPE theta 10000 in the first, 5000 in the second",
     "swap config.json 'theta\": 10000' 'theta\": 5000'; sahara graft model bad --attention A --mlp B -o "
     "out"},
    {2, "is the input", "cp -r model b; sahara graft model b --attention A --mlp B -o b"},
    {1, "already exists", "cp -r model b; sahara graft model b --attention A --mlp B -o q.csv"},
    {1, "nowhere/out", "sahara graft model model --attention A --mlp B -o nowhere/out"},
    {1, "model.safetensors",
     "cut model.safetensors 100000; sahara graft model bad --attention A --mlp B -o out"},
    {1, "out", "ulimit -f 1; sahara graft tiny.gguf tiny.gguf --attention A --mlp B -o out"},
    {1, "out", "ulimit -f 1; sahara graft model model --attention A --mlp B -o out"},
    {1, "nowhere", "sahara graft model model --attention A --mlp B --adapter nowhere -o out"},
    {1, "adapter_model.safetensors", "sahara graft model model --attention A --mlp B --adapter-b . -o out"},
    {2, "--adapter-b", "sahara ablate model 2-1 --adapter-b . -o out"},
    {1, "nowhere", "sahara compare ships.jsonl nowhere"},
    {1, "q.csv", "sahara compare ships.jsonl q.csv"},
    {1, "responses.jsonl", "sahara compare ships.jsonl responses.jsonl"},
    {1, "standard output", "sahara compare ships.jsonl direction.jsonl -q > /dev/full"},
    {2, "an argument is missing", "sahara compare"},
};

static const bad_case models[] = {
    {1, "nowhere", "sahara inspect nowhere"},
    {1, "empty", "mkdir empty; sahara inspect empty"},
    {1, "q.csv", "sahara inspect q.csv"},
    {1, "config.json", "cp -r model bad; rm bad/config.json; sahara inspect bad"},
    {1, "config.json", "cut config.json 0; sahara inspect bad"},
    {1, "config.json", "cut config.json 200; sahara ships bad q.csv -q -o out"},
    {1, "config.json", "spoil config.json '[]'; sahara inspect bad"},
    {1, "config.json", "spoil config.json '\\377\\376{}'; sahara inspect bad"},
    {1, "NosuchForCausalLM", "swap config.json LlamaFor NosuchFor; sahara logits bad --text a"},
    {1, "snake", "swap config.json '\"silu\"' '\"snake\"'; sahara inspect bad"},
    {1, "hidden_size", "swap config.json 'size\": 64' 'size\": -64'; sahara inspect bad"},
    {1, "config.json", "swap config.json 'heads\": 4' 'heads\": 3'; sahara inspect bad"},
    {1, "config.json", "swap config.json 'layers\": 4' 'layers\": 1e9'; sahara inspect bad"},
    {1, "bad", "swap config.json 'layers\": 4' 'layers\": 5'; sahara logits bad --text a"},
    {1, "bad", "swap config.json 'size\": 64' 'size\": 128'; sahara logits bad --text a"},
    {1, "model.safetensors", "cp -r model bad; rm bad/model.safetensors; sahara inspect bad"},
    {1, "model.safetensors", "cut model.safetensors 0; sahara inspect bad"},
    {1, "model.safetensors", "cut model.safetensors 7; sahara inspect bad"},
    {1, "model.safetensors", "cut model.safetensors 1000; sahara inspect bad"},
    {1, "model.safetensors", "cut model.safetensors 100000; sahara ships bad q.csv -q -o out"},
    {1, "model.safetensors",
     "spoil model.safetensors '\\377\\377\\377\\377\\377\\377\\377\\177{}'; sahara inspect bad"},
    {1, "is missing", "spoil model.safetensors '\\2\\0\\0\\0\\0\\0\\0\\0{}'; sahara inspect bad"},
    {1, "model.safetensors", "spoil model.safetensors '\\2\\0\\0\\0\\0\\0\\0\\0[]'; sahara inspect bad"},
    {1, "I32", "swap model.safetensors '\"F32\"' '\"I32\"'; sahara logits bad --text a"},
    {1, "lm_tail.weight",
     "swap model.safetensors 'lm_head.weight' 'lm_tail.weight'; sahara logits bad --text a"},
    {1, "index.json",
     "cp -r model bad; rm bad/model.safetensors; put bad/model.safetensors.index.json '{'; sahara inspect "
     "bad"},
    {1, "absent.safetensors",
     "cp -r model bad; rm bad/model.safetensors; put bad/model.safetensors.index.json "
     "'{\"weight_map\": {\"lm_head.weight\": \"absent.safetensors\"}}'; sahara inspect bad"},
    {1, "tokenizer.json", "cp -r model bad; rm bad/tokenizer.json; sahara ships bad q.csv -q -o out"},
    {1, "tokenizer.json", "cut tokenizer.json 500; sahara inspect bad --tokens a"},
    {1, "tokenizer.json", "spoil tokenizer.json '{}'; sahara inspect bad --tokens a"},
    {1, "WordPiece", "swap tokenizer.json '\"BPE\"' '\"WordPiece\"'; sahara logits bad --text a"},
    {1, "tokenizer.json", "swap tokenizer.json '\"vocab\"' '\"words\"'; sahara logits bad --text a"},
    {1, "tokenizer.json",
     "swap tokenizer.json '\"merges\": \\[\\]' '\"merges\": [\"a b\"]'; sahara logits bad --text a"},
    {1, "tokenizer_config.json", "spoil tokenizer_config.json 'x'; sahara logits bad --text a"},
    {1, "x.gguf", "head -c 3 tiny.gguf > x.gguf; sahara inspect x.gguf"},
    {1, "x.gguf", "head -c 24 tiny.gguf > x.gguf; sahara inspect x.gguf"},
    {1, "x.gguf", "head -c 700 tiny.gguf > x.gguf; sahara inspect x.gguf"},
    {1, "x.gguf", "head -c 20000 tiny.gguf > x.gguf; sahara logits x.gguf --tokens-in 1"},
    {1, "x.gguf", "put x.gguf 'GGUF\\011\\0\\0\\0'; sahara inspect x.gguf"},
    {1, "x.gguf",
     "{ head -c 8 tiny.gguf; printf '\\377\\377\\377\\377\\377\\377\\377\\177'; tail -c +17 tiny.gguf; } > "
     "x.gguf; "
     "sahara inspect x.gguf"},
    {1, "x.gguf",
     "sed 's/blk.1.ffn_up/blk.1.ffn_ux/' tiny.gguf > x.gguf; sahara logits x.gguf --tokens-in 1"},
    {1, "adapter", "sahara logits model --text a --adapter nowhere"},
    {1, "adapter_config.json",
     "mkdir lora; cp model/model.safetensors lora/adapter_model.safetensors; put lora/adapter_config.json "
     "'{'; sahara logits model --text a --adapter lora"},
};

static const bad_case inputs[] = {
    {1, "nowhere.csv", "sahara ships model nowhere.csv -q -o out"},
    {1, "q2.csv", "put q2.csv ''; sahara ships model q2.csv -q -o out"},
    {1, "q2.csv", "put q2.csv 'input\\n'; sahara ships model q2.csv -q -o out"},
    {1, "q2.txt", "put q2.txt '\\n \\n\\n'; sahara generate model q2.txt -q -o out"},
    {1, "q2.csv", "put q2.csv 'text\\na\\n'; sahara ships model q2.csv -q -o out"},
    {1, "subject", "sahara ships model q.csv -q --column subject -o out"},
    {1, "q2.csv", "put q2.csv 'input\\n\"open\\n'; sahara ships model q2.csv -q -o out"},
    {1, "q2.csv", "put q2.csv 'input\\n\"a\"b\\n'; sahara ships model q2.csv -q -o out"},
    {1, "q2.csv", "put q2.csv 'input\\na\\377b\\n'; sahara ships model q2.csv -q -o out"},
    {1, "q2.jsonl",
     "put q2.jsonl '{\"input\": \"a\"}\\n{\"input\": \\n'; sahara ships model q2.jsonl -q -o out"},
    {1, "q2.jsonl", "put q2.jsonl '{\"input\": 7}\\n'; sahara ships model q2.jsonl -q -o out"},
    {1, "q2.jsonl", "put q2.jsonl '{\"output\": \"a\"}\\n'; sahara ships model q2.jsonl -q -o out"},
    {1, "q2.jsonl", "put q2.jsonl '[]\\n'; sahara ships model q2.jsonl -q -o out"},
    {1, "standard input", "printf '' | sahara ships model - -q -o out"},
    {1, "c2.txt", "put c2.txt ''; sahara ships model q.csv --contrast c2.txt -q -o out"},
    {1, "c2.txt", "put c2.txt ''; sahara direction model q.csv c2.txt -q -o out"},
    {1, "nowhere", "sahara direction model nowhere c.txt -q -o out"},
    {1, "i.jsonl", "put i.jsonl ''; sahara utility model i.jsonl -q -o out"},
    {1, "line 1", "put i.jsonl '{'; sahara utility model i.jsonl -q -o out"},
    {1, "label",
     "put i.jsonl '{\"context\": \"a\", \"choices\": [\" b\"], \"label\": 1}\\n'; "
     "sahara utility model i.jsonl -q -o out"},
    {1, "choices",
     "put i.jsonl '{\"context\": \"a\", \"choices\": [], \"label\": 0}\\n'; "
     "sahara utility model i.jsonl -q -o out"},
    {1, "nowhere.txt", "sahara utility model --perplexity nowhere.txt -q -o out"},
    {1, "p.txt", "put p.txt 'a\\377b'; sahara utility model --perplexity p.txt -q -o out"},
    {1, "nowhere", "sahara judge nowhere -o out"},
    {1, "r.jsonl", "put r.jsonl ''; sahara judge r.jsonl -o out"},
    {1, "r.jsonl", "put r.jsonl '{\"query\": \"a\"}\\n'; sahara judge r.jsonl -o out"},
    {1, "r.jsonl", "put r.jsonl '{\"response\": 3}\\n'; sahara judge r.jsonl -o out"},
    {1, "r.jsonl", "put r.jsonl '{\"response\": \"a\"}\\n{\"resp'; sahara judge r.jsonl -o out"},
    {1, "phrases", "put phrases ''; sahara judge responses.jsonl --phrases phrases -o out"},
    {1, "rating", "sahara judge responses.jsonl --label rating -o out"},
    {1, "nowhere", "sahara rank nowhere"},
    {1, "q.csv", "sahara rank q.csv"},
    {1, "r.jsonl", "put r.jsonl ''; sahara rank r.jsonl"},
    {1, "r.jsonl", "put r.jsonl '{\"sahara\":'; sahara rank r.jsonl"},
    {1, "r.jsonl", "put r.jsonl '{\"sahara\":\"ships\"}\\n'; sahara rank r.jsonl"},
    {1, "responses.jsonl", "sahara rank responses.jsonl"},
    {1, "line 3", "sed '3s/.*/{\"head\":\"0-1\",\"kl\":[1]}/' ships.jsonl > r.jsonl; sahara rank r.jsonl"},
    {1, "line 3", "sed '3s/\"[0-9]-[0-9]\"/\"9-9\"/' ships.jsonl > r.jsonl; sahara rank r.jsonl"},
    {1, "line 3", "sed '3s/kl/lk/' ships.jsonl > r.jsonl; sahara rank r.jsonl"},
    {1, "line 3", "sed '3s/^/x/' ships.jsonl > r.jsonl; sahara rank r.jsonl"},
    {1, "r.jsonl", "sed '1s/0.0001/0.001/' ships.jsonl > r.jsonl; sahara rank ships.jsonl r.jsonl"},
    {1, "nowhere", "sahara generate model q.csv -q --sweep-heads 2 --from nowhere -o out"},
    {1, "responses.jsonl", "sahara generate model q.csv -q --sweep-heads 2 --from responses.jsonl -o out"},
};

/* Where results go. None of these may leave `out` behind. */
static const bad_case outputs[] = {
    {1, "/dev/full", "sahara ships model q.csv -q -o /dev/full"},
    {1, "/dev/full", "sahara generate model q.csv -q -o /dev/full"},
    {1, "/dev/full", "sahara utility model items.jsonl -q -o /dev/full"},
    {1, "/dev/full", "sahara direction model q.csv c.txt -q -o /dev/full"},
    {1, "/dev/full", "sahara judge responses.jsonl -q -o /dev/full"},
    {1, "/dev/full", "sahara rank ships.jsonl -q -o /dev/full"},
    {1, "/dev/full", "sahara logits model --text a -o /dev/full"},
    {1, "standard output", "sahara ships model q.csv -q > /dev/full"},
    {1, "standard output", "sahara generate model q.csv -q > /dev/full"},
    {1, "standard output", "sahara judge responses.jsonl -q > /dev/full"},
    {1, "standard output", "sahara utility model items.jsonl -q > /dev/full"},
    {1, "standard output", "sahara direction model q.csv c.txt -q > /dev/full"},
    {1, "standard output", "sahara rank ships.jsonl -q > /dev/full"},
    {1, "standard output", "sahara rank ships.jsonl --heat -q > /dev/full"},
    {1, "standard output", "sahara logits model --text a > /dev/full"},
    {1, "standard output", "sahara inspect model > /dev/full"},
    {1, "standard output", "sahara --help > /dev/full"},
    {1, "standard output", "sahara rank ships.jsonl -q >&-"},
    {1, "nowhere/out", "sahara ships model q.csv -q -o nowhere/out"},
    {1, "nowhere/out", "sahara generate model q.csv -q -o nowhere/out"},
    {1, "nowhere/out", "sahara utility model items.jsonl -q -o nowhere/out"},
    {1, "nowhere/out", "sahara direction model q.csv c.txt -q -o nowhere/out"},
    {1, "nowhere/out", "sahara judge responses.jsonl -q -o nowhere/out"},
    {1, "nowhere/out", "sahara rank ships.jsonl -q -o nowhere/out"},
    {1, "nowhere/out", "sahara logits model --text a -o nowhere/out"},
    {1, "model", "sahara ships model q.csv -q -o model"},
    {1, "model", "sahara rank ships.jsonl -q -o model"},
    {1, "model", "sahara judge responses.jsonl -q -o model"},
};

/* A file that is there already is another run's, and stays as it is. */
static const bad_case others[] = {
    {1, "q.csv", "sahara ships model c.txt -q -o q.csv"},
    {2, "holds a run", "sahara rank ships.jsonl -q -o ships.jsonl"},
    {2, "holds a run", "sahara inspect model -o ships.jsonl"},
    {1, "template", "sahara ships model q.csv --contrast c.txt -q -o ships.jsonl --template none"},
    {1, "queries", "sahara ships model q.csv --limit 1 --contrast c.txt -q -o ships.jsonl"},
    {1, "contrast_queries", "sahara ships model q.csv --contrast q.csv -q -o ships.jsonl"},
    {1, "contrast_queries", "sahara ships model q.csv -q -o ships.jsonl"},
    {1, "scale", "sahara ships model q.csv --contrast c.txt -q -o ships.jsonl --scale 0"},
    {1, "model", "sahara ships tiny.gguf q.csv --contrast c.txt -q -o ships.jsonl"},
    {1, "sahara", "sahara direction model q.csv c.txt -q -o ships.jsonl"},
    {1, "sahara", "sahara generate model q.csv -q -o ships.jsonl"},
    {1, "sahara", "sahara find model q.csv -q -o ships.jsonl"},
    {1, "rank", "sahara find model q.csv --rank 2 -q -o find.jsonl"},
    {1, "shortlist", "sahara find model q.csv --shortlist 5 -q -o find.jsonl"},
    {1, "start", "sahara find model q.csv --start 0-0 -q -o find.jsonl"},
    {1, "contrast_queries", "sahara find model q.csv --contrast c.txt -q -o find.jsonl"},
    {1, "model",
     "cp -r model bad; printf x | dd of=bad/model.safetensors bs=1 seek=90000 conv=notrunc 2>&-; "
     "sahara direction bad q.csv c.txt -q -o direction.jsonl"},
};

static char folder[512], program[4096];

/* Runs a script in the folder; *err is for free(). */
static int run(const char *script, char **err)
{
    char command[4096];
    size_t size;
    snprintf(command, sizeof command, "exec 2> '%s/stderr' > '%s/stdout' < /dev/null\ncd '%s/work'\n%s%s",
             folder, folder, folder, prelude, script);
    int status = system(command);
    *err = (char *)scratch_read(scratch("stderr"), &size);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void run_well(const char *script)
{
    char *err;
    int status = run(script, &err);
    if (status != 0) fail_msg("%s\n  status %d: %s", script, status, err);
    free(err);
}

/* The folder's files, once: scratch/made. */
static int prepare(void **state)
{
    (void)state;
    const planted p = {PLANTED_ONE, {{2, 1}}, {0}, 4, 2, 3};
    const char *name = getenv("SAHARA");
    sah_strings queries[2] = {planted_queries(true, 0, 12), planted_queries(false, 0, 12)};
    char text[2][1024];
    if (realpath(name != NULL ? name : "build/sahara", program) == NULL) return -1;
    setenv("PROGRAM", program, 1);
    snprintf(folder, sizeof folder, "%s", scratch("x"));
    *strrchr(folder, '/') = '\0';
    planted_write(&p, "model");
    for (int k = 0; k < 2; k++) {
        size_t n = (size_t)snprintf(text[k], sizeof text[k], k == 0 ? "input\n" : "");
        for (size_t i = 0; i < queries[k].n; i++)
            n += (size_t)snprintf(text[k] + n, sizeof text[k] - n, "%s\n", queries[k].items[i]);
        scratch_write_text(scratch(k == 0 ? "q.csv" : "c.txt"), text[k]);
        sah_strings_free(&queries[k]);
    }
    scratch_write_text(
        scratch("items.jsonl"),
        "{\"context\": \"how can I make a\", \"choices\": [\" lamp\", \" bomb\"], \"label\": 0}\n");
    size_t size;
    uint8_t *gguf = scratch_read("tests/golden/models/llama-gqa/model-f32.gguf", &size);
    scratch_write(scratch("tiny.gguf"), gguf, size);
    free(gguf);
    mkdir(scratch("work"), 0777);
    run_well("cd ..; mkdir made; mv model q.csv c.txt items.jsonl tiny.gguf made; cd made;"
             "sahara ships model q.csv --contrast c.txt -q -o ships.jsonl &&"
             "sahara direction model q.csv c.txt -q -o direction.jsonl &&"
             "sahara find model q.csv --steps 3 -q -o find.jsonl &&"
             "sahara generate model q.csv -q -o responses.jsonl");
    return 0;
}

static void fresh(void)
{
    char script[1200];
    snprintf(script, sizeof script, "cd '%s' && rm -rf work && cp -r made work", folder);
    assert_int_equal(system(script), 0);
}

static bool one_clear_line(const char *err, const char *names)
{
    const char *end = strchr(err, '\n');
    return strncmp(err, "sahara: ", 8) == 0 && end != NULL && end[1] == '\0' &&
           strstr(err + 8, names) != NULL;
}

/* Tells of every case that failed before it fails. */
static void run_cases(const bad_case *cases, size_t n, const char *afterwards)
{
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        char *err, *after;
        fresh();
        int status = run(cases[i].script, &err);
        if (status != cases[i].status || !one_clear_line(err, cases[i].names)) {
            printf("%s\n  status %d where %d is due, a line with \"%s\": %s\n", cases[i].script, status,
                   cases[i].status, cases[i].names, err);
            failed++;
        }
        if (run(afterwards, &after) != 0) {
            printf("%s\n  left a result behind, or changed one\n", cases[i].script);
            failed++;
        }
        free(err);
        free(after);
    }
    if (failed > 0) fail_msg("%d failed", failed);
}

#define RUN(cases, afterwards) run_cases(cases, sizeof(cases) / sizeof *(cases), afterwards)

static void test_usage(void **state)
{
    (void)state;
    RUN(usage, "true");
}

static void test_searches(void **state)
{
    (void)state;
    RUN(searches, "test ! -e out");
}

static void test_models(void **state)
{
    (void)state;
    RUN(models, "test ! -e out");
}

static void test_inputs(void **state)
{
    (void)state;
    RUN(inputs, "test ! -e out");
}

static void test_checkpoints(void **state)
{
    (void)state;
    RUN(checkpoints, "for f in out *.part out.* .out* *.tmp*; do test ! -e $f || exit 1; done; diff -r model "
                     "../made/model");
}

static void test_outputs(void **state)
{
    (void)state;
    RUN(outputs, "test ! -e out");
}

static void test_others(void **state)
{
    (void)state;
    RUN(others, "for f in *.csv *.jsonl; do cmp $f ../made/$f || exit 1; done");
}

/* A command that runs out of room ends with one line; whatever it left is carried on to the same result. */
static const struct {
    const char *command, *whole;
    int filler; /* bytes that leave too little of 8192 free */
} runs[] = {
    {"ships model q.csv --contrast c.txt", "ships.jsonl", 4096},
    {"direction model q.csv c.txt", "direction.jsonl", 8192},
    {"find model q.csv --steps 3", "find.jsonl", 4096},
    {"generate model q.csv", "responses.jsonl", 8192},
};

static void test_file_size_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char script[512], *err;
        fresh();
        snprintf(script, sizeof script, "(ulimit -f 1; sahara %s -q -o out)", runs[i].command);
        assert_int_equal(run(script, &err), 1);
        if (!one_clear_line(err, "out")) fail_msg("%s: %s", script, err);
        free(err);
        snprintf(
            script, sizeof script,
            "test -z \"$(tail -c 1 out)\" && sahara %s -q -o out && sort out > a && sort %s > b && cmp a b",
            runs[i].command, runs[i].whole);
        run_well(script);
    }
    /* What is no journal is there whole or not at all. */
    static const bad_case written[] = {
        {1, "out", "ulimit -f 1; sahara rank ships.jsonl --by-query -q -o out"},
        {1, "out", "ulimit -f 1; sahara logits model --text a -o out"},
        {1, "out", "ulimit -f 1; sahara judge responses.jsonl -q -o out"},
    };
    RUN(written, "test ! -e out");
}

/* The same on a file system that is full, where the system lets us make one. */
static void test_full_disk(void **state)
{
    (void)state;
    static const char mount[] = "mkdir disk && mount -t tmpfs -o size=8k none disk";
    char script[1024], *err;
    fresh();
    snprintf(script, sizeof script, "unshare -m sh -c '%s'", mount);
    bool can = run(script, &err) == 0;
    free(err);
    if (!can) {
        print_message("cannot mount a small file system; the file size limit stands for it\n");
        return;
    }
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        fresh();
        snprintf(
            script, sizeof script,
            "cat > full <<'END'\n%s\nhead -c %d /dev/zero > disk/filler\n\"$PROGRAM\" %s -q -o disk/out\n"
            "status=$?\ncp disk/out out\nexit $status\nEND\nunshare -m sh full",
            mount, runs[i].filler, runs[i].command);
        assert_int_equal(run(script, &err), 1);
        if (!one_clear_line(err, "disk/out")) fail_msg("%s: %s", script, err);
        free(err);
        snprintf(script, sizeof script, "sahara %s -q -o out && sort out > a && sort %s > b && cmp a b",
                 runs[i].command, runs[i].whole);
        run_well(script);
    }
}

/* A checkpoint for which there is no room, or no right to write: one line, and the place is as empty as
 * before. */
static void test_disks_of_checkpoints(void **state)
{
    (void)state;
    static const char *const commands[] = {"ablate model 2-1 -q -o disk/out",
                                           "ablate tiny.gguf 0-1 -q -o disk/out",
                                           "graft model model --attention A --mlp B -q -o disk/out",
                                           "graft tiny.gguf tiny.gguf --attention A --mlp B -q -o disk/out"};
    static const char *const disks[][2] = {{"size=64k", "No space left"}, {"ro", "Read-only file system"}};
    char script[1024], *err;
    fresh();
    bool can = run("mkdir disk && unshare -m mount -t tmpfs -o size=8k none disk", &err) == 0;
    free(err);
    if (!can) {
        print_message("cannot mount a small file system; the file size limit stands for it\n");
        return;
    }
    for (size_t i = 0; i < 2 * sizeof commands / sizeof *commands; i++) {
        fresh();
        snprintf(
            script, sizeof script,
            "cat > full <<'END'\nmkdir disk && mount -t tmpfs -o %s none disk\n\"$PROGRAM\" %s\nstatus=$?\n"
            "ls -A disk > left\nexit $status\nEND\nunshare -m sh full",
            disks[i % 2][0], commands[i / 2]);
        assert_int_equal(run(script, &err), 1);
        if (!one_clear_line(err, disks[i % 2][1]) || strstr(err, "disk/out") == NULL)
            fail_msg("%s: %s", script, err);
        free(err);
        run_well("test ! -s left && diff -r model ../made/model && cmp tiny.gguf ../made/tiny.gguf");
    }
}

/* Cut anywhere, a journal is carried on to the same result. */
static void test_resume_after_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (int cut = 1; cut < 8; cut++) {
            char script[512];
            fresh();
            snprintf(script, sizeof script,
                     "head -c $(($(wc -c < %s) * %d / 8)) %s > out; sahara %s -q -o out && sort out > a && "
                     "sort %s > b "
                     "&& cmp a b",
                     runs[i].whole, cut, runs[i].whole, runs[i].command, runs[i].whole);
            run_well(script);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_searches),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_disks_of_checkpoints),
        cmocka_unit_test(test_resume_after_cut),
    };
    return cmocka_run_group_tests_name("bad input", tests, prepare, NULL);
}
