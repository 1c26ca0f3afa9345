"""The sequence of a prefill, which shrinks and grows from stage to stage.

Too long for one file, so split by time: `input` (what the decoder receives, counted once), `slots`
(what is known of each slot from then on) and `packing` (how slots move when tokens leave or join).
"""
