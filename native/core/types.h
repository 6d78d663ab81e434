// What the core says to whoever embeds it: options in, records and reports out. No behaviour here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "platform/platform.h"

namespace segwal {

inline constexpr uint64_t kDefaultSegmentSize = uint64_t{64} << 20;

// When the log makes durable what was appended.
struct SyncPolicy {
  // Without being asked, within this many µs of an append; 0: never unasked.
  uint64_t delay_us = 10'000;
  // Sooner when somebody expects durability and so much is not durable yet (see Log::ExpectDurable); 0: no such bound.
  uint64_t max_records = 1024;
  uint64_t max_bytes = uint64_t{1} << 20;

  bool operator==(const SyncPolicy&) const = default;
};

// Of bytes of frames that are not durable yet: where an append is refused. At least two segments in any case.
inline constexpr uint64_t kDefaultMaxDirtyBytes = uint64_t{256} << 20;
inline constexpr uint64_t kDefaultRecycledSegments = 2;

// What is kept though no checkpoint needs it: whole segments of which a record is not older than `max_age_us`, as long
// as all together take at most `max_bytes` on the disk.
struct Retention {
  uint64_t max_age_us = UINT64_MAX;
  uint64_t max_bytes = UINT64_MAX;

  bool operator==(const Retention&) const = default;
};

struct CleanupResult {
  uint64_t segments_removed = 0;
  uint64_t bytes_freed = 0;  // of files, those of earlier tries too
};

struct CompactOptions {
  // Only records before this one are removed, and only for the sake of others before it.
  uint64_t before = UINT64_MAX;
  std::function<bool()> cancelled;
};

struct CompactResult {
  uint64_t records_kept = 0;  // in the sealed segments that were looked at
  uint64_t records_removed = 0;
  uint64_t bytes_freed = 0;  // of files
  uint64_t segments_rewritten = 0;
  struct Skipped {
    uint64_t segment;
    std::string reason;
  };
  std::vector<Skipped> skipped;  // the system would not put another file in their place yet
};

struct LogOptions {
  uint64_t segment_size = 0;  // bytes; 0: the log's own, or kDefaultSegmentSize for a new one
  bool create = true;
  bool read_only = false;
  // Damage that would be refused is given up: fillers take its place, and what was there goes to quarantine.
  bool salvage = false;
  // Left out: SyncPolicy's own defaults, or, in a log that is open already, what it was opened with; likewise below.
  std::optional<SyncPolicy> sync;
  // An append that would leave more bytes of frames than this not durable is refused; UINT64_MAX: none is. A frame
  // larger than that is taken when nothing else waits for the disk.
  std::optional<uint64_t> max_dirty_bytes;
  // Given, the log cleans up by itself, about once a second.
  std::optional<Retention> retention;
  // So many files of segments that were removed from the front are kept for the next ones.
  std::optional<uint64_t> recycle_segments;
};

// Kinds that mean something to compaction and to the replay of what was committed; all others are the user's alone.
inline constexpr uint8_t kKindDelete = 3;
inline constexpr uint8_t kKindBegin = 4;
inline constexpr uint8_t kKindCommit = 5;
inline constexpr uint8_t kKindAbort = 6;

// One record on its way in. `key` absent is not the same as `key` empty.
struct RecordView {
  ByteView data;
  std::optional<ByteView> key;
  uint8_t kind = 0;
};

// What is odd in a byte range of the log, what the table of recovery says of it, and what was done.
struct Finding {
  std::string rule;  // "A" … "D" of the table in docs/FORMAT.md; or "meta", "checkpoint", "stray", "gap"
  uint64_t segment = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t first_sequence = 0;  // 0: none concerned
  uint64_t last_sequence = 0;
  bool durable = false;  // what is concerned, or some of it, is proven to have been durable
  std::string action;
};

// What was found by going through a log.
struct Report {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t bytes = 0;  // of frames
  double duration_ms = 0;
  std::vector<Finding> findings;
};

struct RecoveryReport : Report {
  bool clean = true;  // closed in order the last time, nothing odd found
};

struct VerifyReport : Report {
  bool ok = true;  // every frame is there and intact
};

// How far a verification has got. Threads: any.
struct VerifyProgress {
  std::atomic<uint64_t> records{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> total_bytes{0};  // of sealed segments
};

struct VerifyOptions {
  size_t concurrency = 0;           // threads; 0: one for each core
  std::function<bool()> cancelled;  // asked by several threads
  VerifyProgress* progress = nullptr;
};

// What an application said of the log: it has everything up to `sequence` elsewhere.
struct Checkpoint {
  uint64_t sequence = 0;  // 0: nothing yet
  uint64_t created_us = 0;
  bool has_data = false;
  std::vector<std::byte> data;  // the application's own

  bool operator==(const Checkpoint&) const = default;
};

struct SegmentInfo {
  uint64_t id = 0;
  uint64_t first_sequence = 0;  // of the first record it holds or will hold
  uint64_t last_sequence = 0;   // first_sequence - 1 when it holds none
  uint64_t bytes = 0;           // header and frames
  uint64_t capacity = 0;        // of the file
  bool sealed = false;
  uint64_t first_time_us = 0;  // µs since the epoch; 0 when it holds no record
  uint64_t last_time_us = 0;
  uint64_t removed = 0;  // of its sequence numbers: those whose record compaction took
  std::string path;
};

struct LogStats {
  uint64_t appends = 0;  // frames, in this open
  uint64_t records = 0;  // in this open
  uint64_t bytes = 0;    // of frames, padding included, in this open
  uint64_t segments = 0;
  uint64_t disk_bytes = 0;
  uint64_t first_sequence = 0;
  uint64_t last_sequence = 0;
  uint64_t durable_sequence = 0;
  uint64_t dirty_bytes = 0;
  uint64_t syncs = 0;
  double sync_p50_ms = 0;
  double sync_p99_ms = 0;
  double sync_max_ms = 0;
  uint64_t last_sync_us = 0;  // when the last one ended, since the epoch; 0: there was none
  uint64_t rotations = 0;
  uint64_t segments_recycled = 0;
  uint64_t writer_stalls = 0;
  double writer_stall_ms = 0;
  double recovery_ms = 0;
};

// Which records a reader returns. Ranges are inclusive at both ends.
struct ReadFilter {
  uint64_t from = 1;
  uint64_t to = UINT64_MAX;
  uint64_t from_time_us = 0;
  uint64_t to_time_us = UINT64_MAX;
  bool reverse = false;
  uint64_t limit = UINT64_MAX;
  std::optional<std::array<bool, 256>> kinds;
  std::optional<std::string> key;
  uint64_t segment = 0;  // only this one; 0: all
};

// One record as a reader hands it out; its bytes lie in the chunk that the caller gave.
// A key stands right before its data: at [data_offset - key_length, data_offset).
// With a codec in its attributes it is a compressed batch, alone in its chunk: `sequence` is that of its first record,
// `key_length` its size before compression. What the codec makes of it goes to Reader::Expand.
struct RecordDescriptor {
  double sequence;
  double time_ms;  // since the epoch, µs in the fraction
  uint32_t data_offset;
  uint32_t data_length;
  uint32_t key_length;
  uint32_t attributes;  // kind | kHasKey | codec << 12
  static constexpr uint32_t kHasKey = 1u << 8;
  static constexpr int kCodecShift = 12;
};
static_assert(sizeof(RecordDescriptor) == 32, "JavaScript reads it through typed arrays of this shape");

// Where a reader puts records: bytes into `data`, what they mean into `records`.
struct ReadChunk {
  std::span<std::byte> data;
  std::span<RecordDescriptor> records;
  size_t count = 0;     // records filled in
  uint64_t needed = 0;  // non-zero: the next record alone needs `data` of this many bytes; nothing was filled in
};

}  // namespace segwal
