"""Every limit and interval of the server, with its unit in its name."""

from __future__ import annotations

# --- requests ---------------------------------------------------------------------------
MAX_JSON_BODY_BYTES = 1 << 20  # PATCH and /series; a config patch may be that large
MAX_FRAMES_BODY_BYTES = 64 << 20  # of one ingest request
MAX_UNFOLDED_BYTES = 512 << 20  # of all blocks of one ingest request together: what a bomb may cost
MAX_FORM_BODY_BYTES = 4096  # logging in
MAX_BLOB_PIECE_BYTES = 16 << 20  # of one request; a larger blob comes in several
ARRIVAL_SLICE_BYTES = 1 << 20  # of a blob on its way in, held in memory before it is written
ARRIVALS_AT_ONCE = 4  # written at the same time; more wait their turn
MAX_ARRIVALS = 64  # under way; beyond, clients are told to come again
BLOB_PIECE_BYTES = 256 << 10  # of a blob on its way out
BLOB_STALL_SECONDS = 60.0  # a client that takes no piece for so long is dropped
MAX_DIGESTS = 10_000  # of one question for what is missing
MAX_CLAIM_BODY_BYTES = 4 << 20  # a version with its metadata
MAX_NAMES = 1_000  # aliases or tags of one request
MAX_VERSIONS_PER_PAGE = 10_000
MAX_FILES_PER_PAGE = 10_000
MAX_NAMED_RUNS = 500  # of one lineage; the others are answered without name and state
KEPT_MANIFESTS = 4  # in memory
MAX_MISSING = 1_000  # told to a client whose version is not whole yet
MAX_JSON_DEPTH = 64
MAX_URL_BYTES = 32 << 10
MAX_SERIES = 5_000  # runs times keys of one /series request
MAX_BUCKETS = 20_000
MAX_SERIES_BUCKETS = 2_000_000  # of one request: 176 MB of answer at most
MAX_RUNS_PER_PAGE = 5_000
INGESTS_AT_ONCE = 4  # unpacking holds memory; more wait their turn
INGEST_WAIT_SECONDS = 10.0  # below the senders' read timeout: who waits for the store is told to come again

# --- connections ------------------------------------------------------------------------
HEADER_SECONDS = 10.0  # from the connection, or the first byte of a request, to the end of its headers
BODY_IDLE_SECONDS = 30.0  # between two pieces of a body
KEEP_ALIVE_SECONDS = 65.0  # longer than a run's heartbeat, so that senders keep their connection
MAX_CONNECTIONS_PER_ADDRESS = 1_000
SHUTDOWN_SECONDS = 1.0  # for requests under way; event streams end at once

# --- events -----------------------------------------------------------------------------
EVENT_INTERVAL_SECONDS = 0.25  # per run, so at most four events a second
EVENT_KEEP_ALIVE_SECONDS = 15.0
MAX_WAITING_RUNS = 10_000  # changed runs waiting for one client; beyond, it is told to read all anew
EVENT_STALL_SECONDS = 30.0  # a client that takes nothing for so long is dropped

# --- following the folder ---------------------------------------------------------------
FOLLOW_SECONDS = 0.25  # between looks at live streams
IDLE_SECONDS = 1.0  # the same while no run is live
SCAN_SECONDS = 1.0  # between looks for new runs
RESCAN_SECONDS = 60.0  # all folders, whatever their times say: some file systems do not keep them
MAX_FOLLOW_BACKOFF_SECONDS = 60.0  # for a run that cannot be read
LIVENESS_SECONDS = 2.0  # between looks for silent runs
RETRY_AFTER_SECONDS = 2  # told to clients while the store is locked or full
HISTORY_PIECE_BYTES = 256 << 10  # of one piece of a history on its way out

# --- questions over tables --------------------------------------------------------------
MAX_TABLE_QUERIES = 2  # at once: each may take all of the memory and the threads below
MAX_TABLE_WAITING = 8  # for their turn; more are told to come again
TABLE_THREADS = 2
TABLE_MEMORY_BYTES = 1 << 30
TABLE_QUERY_SECONDS = 20.0  # then a query is stopped
TABLE_WAIT_SECONDS = 10.0  # for a turn
MAX_TABLE_ROWS = 10_000  # of one answer
MAX_TABLE_ANSWER_BYTES = 16 << 20  # of cells; a page ends early, and says that there is more
MAX_TABLE_COLUMNS = 10_000
MAX_TABLE_SORTS = 16
MAX_TABLE_GROUPINGS = 16
MAX_TABLE_AGGREGATES = 100
MAX_TABLE_HISTOGRAMS = 50
MAX_TABLE_BINS = 200
MAX_TABLE_CONDITIONS = 1_000  # of one filter
MAX_TABLE_FILTER_DEPTH = 32
MAX_TABLE_LIST = 10_000  # values of one $in
MAX_TABLE_PATTERN_CHARS = 1_000
MAX_TABLE_PARTS = 20_000  # files of one table
MAX_TABLE_FACTS = 50_000  # files whose columns are remembered
TABLE_CACHE_BYTES = 4 << 30  # of files that do not lie ready on disk: packed ones, those in artifacts

MAX_CONSOLE_LINES = 10_000  # of one answer
