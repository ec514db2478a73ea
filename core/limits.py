"""Every limit and interval of the training process, with its unit in its name."""

from __future__ import annotations

# --- the journal ------------------------------------------------------------------------
FIRST_SEGMENT_BYTES = 1 << 20  # small runs stay small; allocating it costs well under a millisecond
SEGMENT_BYTES = 8 << 20  # long runs: one segment swap per some 35,000 rows of ten metrics
MAX_PAYLOAD_BYTES = 4 << 20  # of one frame; a row beyond it is split
BLOCK_ROWS = 1024  # rows packed together: one takes a millisecond, so the training thread gets its turn
BLOCK_BYTES = 4 << 20  # of the rows packed together, before packing; one row may be longer
MAX_BLOCK_BYTES = 256 << 20  # of one unpacked block: bounds what a hostile block may unfold to

# --- values -----------------------------------------------------------------------------
MAX_VALUE_BYTES = 1 << 20  # of one encoded value (a string, say)
MAX_KEY_CHARS = 1024
MAX_STEP = 2**62  # either side of zero; beyond, the next step would not fit in 64 bits
MAX_CONTROL_BYTES = 1 << 20  # of one config or summary patch

# --- the keeper -------------------------------------------------------------------------
SYNC_INTERVAL_SECONDS = 1.0  # what a power cut can take at most
HEARTBEAT_INTERVAL_SECONDS = 15.0
CRASHED_AFTER_SECONDS = 45.0  # three heartbeats missed
SEAL_SLICE_ROWS = 256  # rows packed before the keeper lets the training thread have its turn
MAX_DEFERRED_ROWS = 10_000  # rows waiting for a device; beyond, the values are fetched at once
MAX_HELD_RECORDS_BYTES = 64 << 20  # kept in memory while the disk refuses; beyond, counted as lost

# --- media ------------------------------------------------------------------------------
MAX_MEDIA_MEMORY_BYTES = 256 << 20  # of snapshots that wait for their encoding; beyond, the oldest wait on disk
SPILL_FILE_BYTES = 256 << 20  # one file of what waits on disk: its space is given back as a whole
MAX_SPILL_BYTES = 16 << 30  # waiting on disk; beyond, media are lost, and counted
MAX_SNAPSHOT_BYTES = 2 << 30  # of one array or text; it is copied while training waits
MAX_HISTOGRAM_BINS = 512
MAX_INLINE_TEXT_BYTES = 4 << 10  # longer texts are blobs
MAX_TEXT_BYTES = 32 << 20  # of one text, SVG or page; no browser shows more
MAX_IMAGE_PIXELS = 100_000_000  # of one image, or of several in a grid
MAX_THUMBNAIL_PIXELS = 256  # wide and high; images that are no larger have no thumbnail
GRID_COLUMNS = 8  # of a batch that is shown as one image
MAX_BOXES = 10_000  # of one image, all groups together
MAX_INLINE_BOXES_BYTES = 4 << 10  # of one group; more is a blob
MAX_FILE_IN_MEMORY_BYTES = 8 << 20  # of a larger file that is logged an open file is kept
MAX_OPEN_MEDIA_FILES = 64  # at a time; beyond, they are read into memory
MAX_MEDIA_FILE_BYTES = 2 << 30  # of one file or one piece of bytes that is logged
MAX_IMAGE_FILE_BYTES = 64 << 20
BLOB_PART_BYTES = 16 << 20  # of media that are larger than one blob may be
MAX_POINTS = 5_000_000  # of one point cloud
MAX_SCENE_ITEMS = 10_000  # boxes and vectors of one point cloud
MAX_GALLERY_ITEMS = 1000  # of one list; a list is one value of its row, some hundred bytes for each
FINISH_MEDIA_SECONDS = 60.0  # finish() gives up when no medium was encoded for so long
DYING_MEDIA_SECONDS = 5.0  # the same for a process that is being ended by a signal
FLUSH_MEDIA_SECONDS = 60.0  # flush() waits for media at most

# --- the sender -------------------------------------------------------------------------
SEND_INTERVAL_SECONDS = 1.0
MAX_BATCH_BYTES = 4 << 20  # of one request's body
MIN_BATCH_BYTES = 64 << 10  # on a slow line batches shrink to this, so that each is acknowledged within seconds
SLOW_BATCH_SECONDS = 2.0  # a batch that takes longer makes the next one smaller
MAX_BATCH_ROWS = 16_384
MAX_BATCH_RAW_BYTES = 16 << 20  # of unpacked rows read for one batch: bounds the sender's memory
PACK_SLICE_BYTES = 128 << 10  # of rows packed before the sender lets the training thread have its turn
CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 20.0  # for the whole answer, however it trickles
MAX_ANSWER_BYTES = 64 << 10
RETRY_AFTER_LIMIT_SECONDS = 600.0  # a server that asks for more is asked again by then
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_STEADY_SECONDS = 4.0  # reached after four failures; from there on a tenth of the outage
BACKOFF_LIMIT_SECONDS = 60.0  # also the slow retry after a refused key
BACKOFF_FINISHING_SECONDS = 0.5  # while finish() waits
PATIENCE_SECONDS = 2.0  # an outage this short is not worth a sentence
REFUSALS_BEFORE_SET_ASIDE = 5  # of one record alone, with the usual waits between; a cut request is refused as well
GAP_SECONDS = 2.0  # a hole in a live stream is looked at again after that, before it counts as damage
UNREADABLE_RETRY_SECONDS = 30.0  # a stream that cannot be read is let be for so long
SYNC_STALL_SECONDS = 60.0  # `tracker sync` gives up when the server has taken nothing for so long
FINISH_STALL_SECONDS = 10.0  # finish() returns this long after the server last acknowledged anything
FINISH_SYNC_STALLS = 12  # times as long where the disk is asked to confirm: it says nothing until it has all

FINISH_KEEP_SECONDS = 10.0  # for the disk to confirm the end of a run
FINISH_SEAL_SECONDS = 2.0  # what is not sealed by then stays open, and is just as readable

# --- blobs ------------------------------------------------------------------------------
MAX_BLOB_BYTES = 64 << 20  # of one blob that is read into memory; larger files are cut into several
PACK_LEVEL = 1  # of zstd: as fast as the disk; 3 packs text hardly better at two thirds of the speed
PACK_SAMPLE_BYTES = 16 << 10  # packed first, to see whether packing pays; of weights that is tried for nothing
PACK_WORTH = 0.7  # packed to more, bytes are kept as they are: 16-bit weights come to 0.78, at a second a GB
MIN_PACK_BYTES = 256  # a file takes a block of the disk anyway
TOUCH_INTERVAL_SECONDS = 3600.0  # how old the time of a blob in use may grow; `tracker gc` spares younger ones
SYNC_ONE_BY_ONE = 16  # new files; beyond, the file system is asked once for all it holds
WRITE_BACK_BYTES = 32 << 10  # the disk is told to begin with larger ones at once
MAX_FRESH_BLOBS = 10_000  # remembered until they are synced; beyond, the file system is asked for all
FOREIGN_SILENCE_SECONDS = 6 * 3600.0  # a process of another machine or container that wrote nothing for so long is gone
FOREIGN_MARK_SECONDS = 3600.0  # another machine that has not synced its blobs for so long was switched off
DRAFT_KEEP_SECONDS = 7 * 86_400.0  # half-arrived blobs, and drafts of another machine

# --- tables -----------------------------------------------------------------------------
TABLE_FILE_BYTES = 64 << 20  # of rows before compression: the files of a table are smaller

# --- the sampler ------------------------------------------------------------------------
SAMPLE_INTERVAL_SECONDS = 2.0
FIRST_SAMPLE_SECONDS = 0.2  # after `init`: a run of seconds has some samples too, one of a moment costs nothing
SAMPLE_GROWTH = 0.5  # of the time a run has lasted: the wait for the next sample while it is young
SLOW_SAMPLE_SECONDS = 10.0  # children, open files, clocks, temperatures: what changes slowly
SELDOM_SAMPLE_SECONDS = 30.0  # free space on disks, memory errors, a GPU's energy counter: and what is dear to ask
PROBE_PATIENCE_SECONDS = 1.0  # a driver's answer is waited for so long; later it comes with the next sample
PROBE_HUNG_SECONDS = 10.0  # then it is said that the driver hangs
SUMMARY_INTERVAL_SECONDS = 60.0  # how often the energy used so far is put into the summary
LAST_PATIENCE_SECONDS = 0.2  # the same, while `finish` waits
LAST_SAMPLE_SECONDS = 1.0  # what `finish` waits for the sampler at most
MAX_SAMPLED_CORES = 64  # with more, the busiest core and how many are busy are told, not each
MAX_SAMPLED_PROCESSES = 256  # of the process's descendants
ELECTION_INTERVAL_SECONDS = 10.0  # how often a process looks whether the node's sampler has died
RANK_GRACE_SECONDS = 5.0  # other ranks of a node let the first one begin

# --- observations -----------------------------------------------------------------------
GPU_IDLE_SECONDS = 300.0
MEMORY_FULL_SECONDS = 20.0  # a peak is none of our business
THROTTLED_SECONDS = 30.0
OBSERVATION_REPEAT_SECONDS = 3600.0
RECENT_ROWS_BYTES = 32 << 10  # of the journal's end looked at for a loss that is no number

# --- processes of one run ---------------------------------------------------------------
MAX_ANCESTORS = 16  # asked for a run, the nearest first
MAX_MARK_BYTES = 16 << 10  # of what a process says of its run
JOIN_PATIENCE_SECONDS = 120.0  # for rank 0 to have opened its run, before another node adds its samples
JOIN_POLL_SECONDS = 0.5
MAX_SWEPT_MARKS = 20  # of other processes, looked at when a run ends

# --- forks ------------------------------------------------------------------------------
FORK_PATIENCE_SECONDS = 5.0  # for a thread of ours that loads a module to have it loaded

# --- the console ------------------------------------------------------------------------
CONSOLE_HEAD_BYTES = 8 << 20  # of text kept in full from the beginning on: some 150,000 lines
CONSOLE_TAIL_BYTES = 256 << 10  # of the newest lines, kept at the end
CONSOLE_BETWEEN_BYTES = 16 << 10  # of the newest lines, once the head is full, each
CONSOLE_BETWEEN_SECONDS = 10.0
CONSOLE_MOST_BYTES = 64 << 20  # of all but the tail: what a runaway loop can fill the disk with
CONSOLE_RECORD_BYTES = 48 << 10
CONSOLE_LINE_CHARS = 16 << 10
CONSOLE_SLICE_CHARS = 16 << 10  # looked at between two looks at the pipe
CONSOLE_ROWS = 64  # how far up a cursor can go: lines above do not change any more
CONSOLE_AGAIN_SECONDS = 5.0  # a progress bar is told anew so often
CONSOLE_FLUSH_SECONDS = 0.5  # from a line to its record
CONSOLE_READ_BYTES = 256 << 10
CONSOLE_END_SECONDS = 5.0  # for the last lines to be written down; a terminal held by Ctrl-S takes for ever
CONSOLE_WAITING_BYTES = 16 << 20  # printed and not looked at yet, where no file descriptor is captured

# --- bytes on their way to and from a server --------------------------------------------
UPLOAD_THREADS = 4
FETCH_THREADS = 4
FIRST_PIECE_BYTES = 4 << 20  # of one request; the next ones by how long it took
MIN_PIECE_BYTES = 64 << 10
MAX_PIECE_BYTES = 16 << 20  # what a server takes at once
QUICK_PIECE_SECONDS = 0.5  # a piece that takes less makes the next one larger
ASK_FIRST_BYTES = 1 << 20  # of a larger blob the server is asked what it has, before the first piece
MAX_DIGESTS = 10_000  # of one question for what is missing
MAX_DIGESTS_ANSWER_BYTES = 1 << 20
FETCH_SECONDS = 60.0  # for one answer, and more for its bytes:
FETCH_BYTES_PER_SECOND = 128 << 10  # slower, it is broken off, and goes on where it was
CATALOGUE_STALL_SECONDS = 20.0  # a question about artifacts is asked again for so long
FOREVER_SECONDS = 10.0 * 365 * 86_400  # `tracker sync --follow` never gives up
MAX_CATALOGUE_ANSWER_BYTES = 256 << 20

# --- code and environment ---------------------------------------------------------------
GIT_SECONDS = 60.0  # of one call of git; a large repository on a slow file system takes its time, and nobody waits
CAPTURE_FINISH_SECONDS = 3.0  # how long finish() waits for what is still being captured; then it is let be
CAPTURE_WORK_SECONDS = 0.02  # of looking for secrets; then the training thread has its turn, three times as long
CAPTURE_DYING_SECONDS = 0.3  # the same for a process that a signal ends
MAX_DIFF_BYTES = 16 << 20
MAX_CHANGED_FILE_BYTES = 10 << 20  # of a tracked file, before or after; larger ones are left out of the diff
MAX_UNTRACKED_FILE_BYTES = 1 << 20
MAX_UNTRACKED_BYTES = 16 << 20  # of all untracked files together
MAX_UNTRACKED_FILES = 1000
MAX_CODE_FILE_BYTES = 10 << 20  # of one file that `log_code` keeps
MAX_CODE_FILES = 10_000
MAX_CODE_BYTES = 64 << 20  # of all files of one `log_code`
MAX_LEFT_OUT = 200  # files that are named as left out; of more there is the number

# --- complaints -------------------------------------------------------------------------
COMPLAINT_INTERVAL_SECONDS = 60.0  # the same fault is said at most this often

# --- artifacts --------------------------------------------------------------------------
MAX_VERSION_BYTES = 4 << 20  # of the file of one version: its metadata, above all
MAX_METADATA_BYTES = 1 << 20  # of an artifact's metadata, as JSON
MAX_LEDGER_LINE_BYTES = 2 << 20  # of one line of a collection's ledger; longer ones are passed over
MAX_LINEAGE_NODES = 10_000  # of one walk
MAX_REFERENCE_OBJECTS = 1_000_000  # of one folder that is referred to, unless more are asked for
GC_GRACE_SECONDS = 86_400.0  # what was put or used within this time stays; it must be above TOUCH_INTERVAL_SECONDS
LEAST_GC_GRACE_SECONDS = 7200.0  # shorter, and a writer's blobs might go before its version comes
ARTIFACT_CACHE_BYTES = (
    20 << 30
)  # of what was fetched from servers into the user's cache, unless the environment says else
CACHE_TRIM_INTERVAL_SECONDS = 60.0  # after a download the cache is looked at, but not more often than this
LEFT_SNAPSHOT_KEEP_SECONDS = 30 * 86_400.0  # of a machine that never came back to complete it
REFERENCE_THREADS = 8  # that fetch what a version refers to
MAX_MANIFEST_BYTES = 512 << 20  # some three million files; a manifest is read into memory
MAX_PATH_BYTES = 4000  # of a path within an artifact: what Linux takes, less a folder to put it in
MAX_PATH_PART_BYTES = 255
SMALL_FILE_BYTES = 64 << 10  # smaller files are copied into a snapshot, and kept several to a blob
TOLD_COPY_SECONDS = 0.1  # what a snapshot had to copy is told of from here on: less is not worth a word
SNAPSHOT_COPY_BYTES = 64 << 20  # of small files copied into one snapshot; beyond, they are linked as the large ones are
SETTLE_SECONDS = 0.015  # waited at most for the clock of the file system to go on; beyond, what is that new is copied
FOREIGN_SNAPSHOT_SECONDS = 6 * 3600.0  # another machine's that nobody has worked on for so long is taken over
SNAPSHOT_TOUCH_SECONDS = 60.0
CLONE_AT_ONCE_BYTES = 16 << 20  # larger files that are new are cloned by the worker: cloning waits for the disk
CLONE_AT_ONCE_AGE_SECONDS = 60.0  # older ones are on disk by now
MAX_REMEMBERED_PATHS = 10_000  # of which is known whether they are written in place
STORE_THREADS = 4  # that hash and write at most, fewer where there are fewer cores
READ_BUFFERS = 4  # that are filled, hashed and written at once
READ_BUFFER_BYTES = 16 << 20
CHUNKS_PER_FILE = 4096  # aimed at: with twenty changed places, 1 % of the file is kept again for nothing
MIN_CHUNK_BYTES = 64 << 10  # on average; smaller ones cost more in files than they save in bytes
MAX_CHUNK_BYTES = 1 << 20  # on average; the longest one has four times as many
REUSED_BUNDLE_SHARE = 0.25  # of an old bundle in use; with less, what is used of it is kept anew, and it can go
BUNDLE_BYTES = 4 << 20  # of small files in one blob
FILES_PER_TURN = 32  # small ones, a millisecond's work: then the training thread has its turn
RESTORE_THREADS = 4  # that read, check and write at most, fewer where there are fewer cores
RESTORE_AHEAD = 8  # blobs read, or groups of files written, at once or waiting for their turn
FETCH_BLOBS = 256  # asked for at once; while they are written, the next ones are fetched

# --- watching models ------------------------------------------------------------------------
WATCH_BINS = 64  # of a histogram
WATCH_TENSOR_VALUES = 16_384  # of one tensor in its histogram at most, where each step is logged ...
WATCH_VALUES_PER_STEP = 1024  # ... and this many for each step from one log to the next, where that is more ...
WATCH_MOST_TENSOR_VALUES = 1 << 20  # ... up to this
WATCH_SAMPLE_VALUES = 16 << 20  # of all tensors together, kept over a step to see what it changed
WATCH_CHUNK_VALUES = 4 << 20  # looked at together: bounds the extra memory on the device
WATCH_UNITS = 1 << 16  # a longer vector is not looked at for dead units
WATCH_MODULES = 64  # at most, where a model is recorded by its modules
WATCH_FAULTS = 3  # of ours, one after the other; then a model is let be
WATCH_PEERS_SECONDS = 5.0  # for the other ranks' part of a norm
WATCH_PEERS_IMPATIENT_SECONDS = 0.5  # once a rank has left it out
MAX_GRAPH_DETAIL_CHARS = 300  # of what a module says of itself
MAX_GRAPH_SHAPES = 32  # of the tensors that a module takes or gives
WATCH_POLL_SECONDS = 0.01
MAX_WATCH_ROUNDS = 64  # parts waiting for those of other ranks, and parts left for them
