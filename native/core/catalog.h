// Catalog: which segments the log has, what is known of each, and how a reader gets at their bytes.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/directory.h"
#include "core/holds.h"
#include "core/reclaimer.h"
#include "core/segment.h"
#include "core/time_index.h"

namespace segwal {

// Where frames start, one entry for every stretch of a segment: what seeking by sequence and reading backwards need.
// Built while somebody walks, kept with the catalog. Threads: any; it locks itself.
class SegmentIndex {
 public:
  using Position = FramePosition;
  // The last noted frame whose index is at or below `index`. Walks on over `data` as far as it must and can; only
  // frames up to `index` are looked at, which must be committed.
  Position Seek(const std::byte* data, uint64_t end, uint32_t index);

 private:
  std::mutex mutex_;
  std::vector<Position> positions_{Position{}};
  Position walked_;  // everything before it has been looked at
};

// The bytes of one segment, mapped for as long as somebody holds this.
struct SegmentView {
  const std::byte* data = nullptr;
  uint64_t end = 0;  // of the usable bytes; frames end here or before
  SegmentIdentity identity;
  std::optional<Seal> seal;  // when it had one
  uint32_t salt_checksum = 0;
  std::shared_ptr<SegmentIndex> index;
  std::shared_ptr<TimeIndex> times;
  std::shared_ptr<const MappingFailure> failure;  // of the mapping; asked after the bytes were used
  std::shared_ptr<const void> owner;              // whatever keeps `data` mapped
};

// Threads: any; it locks itself. Nothing is called while the lock is held that takes another of the log's locks.
class Catalog {
 public:
  Catalog(Platform& platform, LogDirectory directory, std::shared_ptr<Reclaimer> reclaimer)
      : platform_(platform), directory_(std::move(directory)), reclaimer_(std::move(reclaimer)) {}

  struct Entry {
    SegmentIdentity identity;
    std::optional<Seal> seal;       // nothing is appended to it any more
    std::shared_ptr<Segment> live;  // while this process appends to it or has not sealed it yet
    uint64_t file_size = 0;         // bytes

    uint64_t id() const { return identity.segment_id; }
    uint64_t base_sequence() const { return identity.base_sequence; }
  };

  // `file_size` 0: that of a whole segment.
  void AddSealed(const SegmentIdentity& identity, const Seal& seal, uint64_t file_size = 0);
  // The last one, being written by another process.
  void AddUnsealed(const SegmentIdentity& identity);
  void AddLive(std::shared_ptr<Segment> segment);
  void MarkSealed(uint64_t id, const Seal& seal);  // lets go of the live segment
  // Another file with the same sequence numbers stands under the name of a sealed segment: compaction has put it there.
  // Readers that have the old one mapped keep it.
  void Replace(const SegmentIdentity& identity, const Seal& seal, uint64_t file_size);
  // Unmaps what is only kept for the next reader.
  void LetGoOf(uint64_t id);
  // Forgets the segments with lower ids. Readers that have one mapped keep it.
  void RemoveBefore(uint64_t id);
  void Clear();

  // The log ends with record `sequence` from now on, in segment `id`, of which `seal` says the rest. Forgets the later
  // ones.
  void CutAfter(uint64_t sequence, uint64_t id, const Seal& seal);
  // A segment that was sealed is appended to again.
  void Revive(uint64_t id, std::shared_ptr<Segment> segment);
  // The end of the log was taken away somewhere at or behind record `sequence`, by another process.
  void NoteCut(uint64_t sequence);
  // How often that has happened, and the lowest record that it left since there were `cuts` of them.
  uint64_t cuts() const { return cuts_count_.load(std::memory_order_acquire); }
  uint64_t LowestCutSince(uint64_t cuts) const;
  Holds& holds() { return holds_; }
  // What a reader calls when it has reason to think that another process has changed the log. Before any reader is
  // made.
  void SetLook(std::function<void()> look) { look_ = std::move(look); }
  void Look() const {
    if (look_) look_();
  }

  // Of the first record, or the first that there would be. However many segments there are, it takes no longer.
  uint64_t first_sequence() const;
  std::vector<Entry> Entries() const;
  size_t size() const;
  uint64_t file_bytes() const;  // of all of them

  // Where the committed log ends.
  struct End {
    uint64_t segment = 0;
    uint64_t offset = 0;
    uint64_t sequence = 0;
    uint64_t earliest_us = 0;
    uint64_t latest_us = 0;
  };
  // What a user wants to know of each segment. Live ones before `end.segment` have been walked to their end.
  std::vector<SegmentInfo> Describe(const End& end) const;
  std::optional<Entry> Find(uint64_t id) const;
  // The entry that holds `sequence`, when the log has it or will have it next.
  std::optional<Entry> FindSequence(uint64_t sequence) const;
  // `sequence`, or the next one (in reverse: the one before) whose segment may hold a time of `range`, going by seals.
  uint64_t NextInTime(uint64_t sequence, TimeRange range, bool reverse) const;
  // The last sequence that belongs to entry `id`, going by its seal or its successor; UINT64_MAX for the last entry.
  uint64_t LastSequenceOf(uint64_t id) const;

  // Maps a segment, or finds it mapped. kTruncated when it is not in the catalog any more.
  Status View(uint64_t id, std::shared_ptr<const SegmentView>* view);

 private:
  struct Slot {
    Entry entry;
    std::shared_ptr<SegmentIndex> index = std::make_shared<SegmentIndex>();
    std::shared_ptr<TimeIndex> times = std::make_shared<TimeIndex>();
    std::weak_ptr<const SegmentView> view;
  };
  static constexpr size_t kRecentViews = 4;

  // What `view` is going to show, should the file not be the one that is known: who compacts a segment puts another one
  // in its place, and does not wait for readers in other processes to hear of it.
  Status LoadReplaced(File* file, SegmentView* view);

  std::deque<Slot>::iterator SlotOf(uint64_t id);
  std::deque<Slot>::const_iterator SlotOf(uint64_t id) const;

  Platform& platform_;
  const LogDirectory directory_;
  const std::shared_ptr<Reclaimer> reclaimer_;

  std::function<void()> look_;
  Holds holds_;

  mutable std::mutex mutex_;
  std::vector<uint64_t> cuts_;  // the record that each left as the last
  std::atomic<uint64_t> cuts_count_{0};
  std::deque<Slot> slots_;                                // by id, without gaps
  std::list<std::shared_ptr<const SegmentView>> recent_;  // kept mapped for the next reader
};

// Maps the file of a segment for reading up to `end`, which it must have: reading behind the end of a file through a
// mapping would be a signal. kNotFound when it is another segment's by now.
Status MapSegmentForReading(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                            uint64_t end, std::unique_ptr<File> file, std::unique_ptr<Mapping>* mapping);

}  // namespace segwal
