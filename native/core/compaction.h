// Compaction: what of sealed segments is to be left, and files that hold just that. Writes nothing but files under a
// temporary name; compact.cc puts them in their places. docs/COMPACTION.md has the rules.
//
// Two passes. The first reads every frame of all segments and notes which records go: of each key all but the latest.
// The second, a segment at a time, the first one first, copies what stays. In between a bit for each record is kept,
// and an entry for each key.
#pragma once

#include <memory>
#include <vector>

#include "core/catalog.h"
#include "core/types.h"

namespace segwal {

// Which record of each key is the latest. Keys are kept whole: about 40 bytes for each, and its own.
class KeyTable {
 public:
  struct State {
    const std::byte* key = nullptr;  // null: the place is free
    uint64_t hash = 0;
    uint64_t latest = 0;  // number of the record + 1, counted through all segments; 0: none
    uint32_t key_size = 0;
    bool in_transaction = false;  // one was begun, and has not ended yet
    bool stays = false;           // some record of the key stays before the next one
    bool ends = false;            // the latest is a Delete behind which nothing of the key is left
    bool outlived = false;        // what should have gone before the latest is still there
  };

  explicit KeyTable(uint64_t seed) : seed_(seed), places_(kFirstPlaces) {}
  State& At(ByteView key);
  State* Find(ByteView key);
  const std::vector<State>& places() const { return places_; }

 private:
  static constexpr size_t kFirstPlaces = 1024;  // a power of two, here and below
  static constexpr size_t kBlock = size_t{1} << 20;

  uint64_t HashOf(ByteView key) const;
  State& PlaceOf(ByteView key, uint64_t hash);
  void Grow();
  const std::byte* Keep(ByteView key);

  const uint64_t seed_;  // of this run, so that nobody can choose keys that collide
  std::vector<State> places_;
  size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  size_t block_left_ = 0;
  std::byte* block_at_ = nullptr;
};

// A file under the temporary name, durable, that is to replace a segment.
struct CompactedSegment {
  uint64_t old_salt = 0;
  uint64_t old_file_size = 0;
  SegmentIdentity identity;
  Seal seal;
  uint64_t file_size = 0;
  uint64_t removed = 0;      // records, by this; 0: there is nothing to do, and no file
  uint64_t last_delete = 0;  // the last of those that were the latest of their key; 0: none went
};

// Threads: one.
class Compaction {
 public:
  // `sealed`: of one log, by id, from its first segment on.
  Compaction(Platform& platform, const LogDirectory& directory, const std::vector<Catalog::Entry>& sealed,
             const CompactOptions& options);

  // The first pass. kCorrupt when a frame is damaged, kNotFound when a file is gone, kAborted, kIo.
  Status Analyze();
  size_t size() const { return sources_.size(); }
  uint64_t id(size_t at) const { return sources_[at].identity.segment_id; }
  uint64_t records() const { return records_; }

  // The second pass, of segment `at`; those before it have been dealt with. Deletes from `first_delete_to_keep` on
  // stay.
  Status Rewrite(size_t at, uint64_t first_delete_to_keep, CompactedSegment* made);
  // Segment `at` stays as it is: then so do the Deletes of keys that have something in it.
  Status LeaveAsItIs(size_t at);

 private:
  struct Source {
    SegmentIdentity identity;
    Seal seal;
    uint64_t file_size = 0;
    uint64_t first_record = 0;  // number of its first one with a key that can be read
    uint64_t last_records = 0;  // how many of those that are to go are the latest of their key
  };

  void Take(const RecordView& record, uint64_t sequence);
  void EndKeys();
  // Maps the segment for `read`.
  template <typename Read>
  Status WithBytesOf(const Source& source, const Read& read);
  template <typename TakeFrame>
  Status Walk(const std::byte* data, const SegmentIdentity& identity, const Seal& seal, const TakeFrame& take_frame);
  uint64_t MarkedIn(size_t at) const;
  bool Goes(uint64_t number, uint64_t sequence, const RecordView& record, uint64_t first_delete_to_keep, bool* last);
  template <typename TakeMarked>
  Status ForEachMarked(size_t at, const TakeMarked& take_marked);
  Status Write(const Source& source, const std::byte* data, uint64_t first_delete_to_keep, CompactedSegment* made);
  Status Prove(std::unique_ptr<File> file, const CompactedSegment& made);

  bool Marked(uint64_t number) const { return (marks_[number / 64] >> (number % 64) & 1) != 0; }
  void Mark(uint64_t number) { marks_[number / 64] |= uint64_t{1} << (number % 64); }

  Platform& platform_;
  const LogDirectory& directory_;
  const CompactOptions& options_;
  std::vector<Source> sources_;
  std::unique_ptr<KeyTable> keys_;
  std::vector<uint64_t> marks_;  // a bit for each record that can be read: it is to go
  uint64_t readable_ = 0;        // records that were numbered
  uint64_t records_ = 0;         // those of compressed batches too
  bool unreadable_before_ = false;
};

}  // namespace segwal
