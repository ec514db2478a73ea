"""Media: images, audio, video, figures, and whatever else is more than a number. One file for each kind.

What is logged is taken as it is at that moment (`Media.snapshot`), encoded on a thread of its own (`worker`), and kept
as a blob of the run; the row gets a `Reference` to it.
"""
