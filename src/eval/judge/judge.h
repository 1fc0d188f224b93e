/* What a judge was made from, for the header of its results. */
#ifndef SAH_EVAL_JUDGE_JUDGE_H
#define SAH_EVAL_JUDGE_JUDGE_H

#include "sahara.h"

sah_judge_rule sah_judge_rule_of(const sah_judge *judge);
/* The file its phrases came from; NULL: the built-in list. */
const char *sah_judge_phrases_of(const sah_judge *judge);

#endif
