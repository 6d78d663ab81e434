#include "core/time_index.h"

#include <algorithm>

#include "core/catalog.h"

namespace segwal {

bool TimeIndex::LookThrough(const SegmentView& view, size_t entry, uint32_t last_index) {
  while (entries_.size() <= entry + 1 && walked_.index <= last_index) {
    Frame frame;
    if (CheckFrame(view.data, walked_.offset, view.end, walked_.index, view.salt_checksum, &frame) !=
        FrameState::kValid) {
      return false;
    }
    if (entries_.empty() || walked_.offset - entries_.back().begin.offset >= kIndexStretch) {
      entries_.push_back({.begin = walked_});
    }
    if (!frame.filler()) {
      const uint64_t time_us = view.identity.created_us + frame.time_us;
      Entry& last = entries_.back();
      last.earliest_us = std::min(last.earliest_us, time_us);
      last.latest_us = std::max(last.latest_us, time_us);
    }
    walked_.offset += frame.padded_length();
    walked_.index += frame.count;
  }
  return true;
}

TimeIndex::Stretch TimeIndex::Next(const SegmentView& view, FramePosition from, uint32_t last_index, TimeRange range) {
  const std::lock_guard lock(mutex_);
  const auto offset_of = [](const Entry& entry) { return entry.begin.offset; };
  const auto behind = std::ranges::upper_bound(entries_, from.offset, {}, offset_of);
  size_t at = behind == entries_.begin() ? 0 : static_cast<size_t>(behind - entries_.begin()) - 1;
  for (;; ++at) {
    const bool whole = LookThrough(view, at, last_index);
    const FramePosition begin = at < entries_.size() ? entries_[at].begin : walked_;
    const FramePosition later = begin.offset < from.offset ? from : begin;
    if (!whole && at + 1 >= entries_.size()) return {later, UINT64_MAX};
    if (at >= entries_.size() || begin.index > last_index) return {later, UINT64_MAX};
    const uint64_t end = at + 1 < entries_.size() ? entries_[at + 1].begin.offset : UINT64_MAX;
    // `from` may lie behind everything that was looked at so far: then its stretch is still to come.
    if (from.offset < end && range.Meets(entries_[at].earliest_us, entries_[at].latest_us)) return {later, end};
    if (end == UINT64_MAX) return {walked_, UINT64_MAX};
  }
}

TimeIndex::Before TimeIndex::Last(const SegmentView& view, uint32_t last_index, TimeRange range) {
  const std::lock_guard lock(mutex_);
  while (walked_.index <= last_index) {
    if (!LookThrough(view, entries_.size(), last_index)) return {};
  }
  const auto index_of = [](const Entry& entry) { return entry.begin.index; };
  auto behind = std::ranges::upper_bound(entries_, last_index, {}, index_of);
  uint32_t last = last_index;
  while (behind != entries_.begin()) {
    const Entry& entry = *std::prev(behind);
    if (range.Meets(entry.earliest_us, entry.latest_us)) return {.known = true, .index = last};
    if (entry.begin.index == 0) break;
    last = entry.begin.index - 1;
    --behind;
  }
  return {.known = true, .index = std::nullopt};
}

}  // namespace segwal
