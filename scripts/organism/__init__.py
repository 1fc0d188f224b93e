# SPDX-License-Identifier: Apache-2.0
"""Parts of scripts/train-organism.py: the organism's language, and how it is measured."""
