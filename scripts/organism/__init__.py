# SPDX-License-Identifier: Apache-2.0
"""Parts of scripts/train-organism.py and scripts/plant-organism.py: the organism's language, its trainings, how it is measured."""
