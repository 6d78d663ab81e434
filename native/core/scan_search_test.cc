// The search for frames in a segment: what it finds, and what it costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/crc32c/crc32c.h"
#include "core/format.h"
#include "core/recovery.h"

namespace segwal {
namespace {

constexpr uint64_t kMaxFill = 20'000;

class Segment {
 public:
  explicit Segment(uint64_t size) : words_(size / 8) { identity_.segment_size = size; }

  std::byte* data() { return reinterpret_cast<std::byte*>(words_.data()); }
  uint64_t size() const { return words_.size() * 8; }
  uint32_t salt_checksum() const { return SaltChecksum(identity_.salt); }
  const SegmentIdentity& identity() const { return identity_; }

  uint32_t Length(uint64_t offset) { return Load<uint32_t>(data() + offset); }
  // Commits a frame around the payload that is there already. Returns where the next one begins.
  uint64_t Commit(uint64_t offset, uint32_t index, uint64_t payload_size) {
    std::byte* at = data() + offset;
    Store(at, static_cast<uint32_t>(kFrameHeaderSize + payload_size));
    Store(at + 8, HeaderWord1(index, index / 2));
    Store(at + 16, HeaderWord2(index, 7, 0));
    Store(at + 4, Crc32cFrame(salt_checksum(), Length(offset), Load<uint64_t>(at + 8), Load<uint64_t>(at + 16),
                              at + kFrameHeaderSize, payload_size));
    return AlignUp(offset + kFrameHeaderSize + payload_size, kFrameAlignment);
  }
  void Damage(uint64_t offset) { data()[offset + Length(offset) - 1] ^= std::byte{1}; }
  void Fill(uint64_t from, uint64_t to, uint64_t word) {
    std::fill(words_.begin() + static_cast<std::ptrdiff_t>(from / 8),
              words_.begin() + static_cast<std::ptrdiff_t>(to / 8), word);
  }

  SegmentScan Scan() { return ScanSegment(data(), size(), identity_, false); }

 private:
  SegmentIdentity identity_{
      .segment_id = 1, .base_sequence = 100, .salt = 0x0123'4567'89ab'cdef, .created_us = 1'000'000};
  std::vector<uint64_t> words_;
};

// The search at its plainest: the whole CRC of every candidate.
SegmentScan PlainScan(const std::byte* data, uint64_t end, const SegmentIdentity& identity) {
  const uint32_t salt = SaltChecksum(identity.salt);
  SegmentScan scan;
  Frame frame;
  uint32_t least_index = 0;
  for (uint64_t offset = kSegmentHeaderSize; offset < end;) {
    FrameRun run{.offset = offset, .end = offset};
    if (PeekFrame(data, offset, end, &frame) == FrameState::kValid && frame.index >= least_index &&
        frame.index <= (offset - kSegmentHeaderSize) / 8 && frame.synced <= uint64_t{frame.index} + 1 &&
        frame.flags < 1u << 6 && frame.count != 0) {
      run.index = run.end_index = frame.index;
      while (CheckFrame(data, run.end, end, run.end_index, salt, &frame) == FrameState::kValid) {
        const uint64_t time = identity.created_us + frame.time_us;
        if (!frame.filler()) {
          scan.earliest_us = scan.earliest_us == 0 ? time : std::min(scan.earliest_us, time);
          scan.latest_us = std::max(scan.latest_us, time);
        }
        scan.proof = std::max(scan.proof, DecodeSynced(frame.synced, identity.base_sequence));
        run.end += frame.padded_length();
        run.end_index += frame.count;
      }
    }
    if (run.end == run.offset) {
      offset += kFrameAlignment;
      continue;
    }
    scan.runs.push_back(run);
    offset = run.end;
    least_index = run.end_index;
  }
  return scan;
}

// While it lives, every byte that a CRC is taken of is counted.
class CrcCount {
 public:
  CrcCount() {
    bytes_ = 0;
    crc32c::active = &kCounting;
  }
  ~CrcCount() { crc32c::active = crc32c::Available().front(); }
  uint64_t bytes() const { return bytes_; }

 private:
  static const crc32c::Implementation& Real() { return *crc32c::Available().front(); }

  static inline uint64_t bytes_ = 0;
  static constexpr crc32c::Implementation kCounting = {
      "counting",
      [](uint32_t crc, const void* data, size_t size) {
        bytes_ += size;
        return Real().extend(crc, data, size);
      },
      [](uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data, size_t size) {
        bytes_ += kFrameHeaderSize - 4 + size;
        return Real().frame(crc, length, word1, word2, data, size);
      },
      nullptr,  // a search copies nothing
      nullptr,
  };
};

void ExpectSameScan(const SegmentScan& scan, const SegmentScan& expected) {
  ASSERT_EQ(scan.runs.size(), expected.runs.size());
  for (size_t i = 0; i < scan.runs.size(); ++i) {
    SCOPED_TRACE("run " + std::to_string(i));
    ASSERT_EQ(scan.runs[i].offset, expected.runs[i].offset);
    ASSERT_EQ(scan.runs[i].end, expected.runs[i].end);
    ASSERT_EQ(scan.runs[i].index, expected.runs[i].index);
    ASSERT_EQ(scan.runs[i].end_index, expected.runs[i].end_index);
  }
  ASSERT_EQ(scan.proof, expected.proof);
  ASSERT_EQ(scan.earliest_us, expected.earliest_us);
  ASSERT_EQ(scan.latest_us, expected.latest_us);
}

void ExpectRun(const FrameRun& run, uint64_t offset, uint64_t end, uint32_t index, uint32_t end_index) {
  EXPECT_EQ(run.offset, offset);
  EXPECT_EQ(run.end, end);
  EXPECT_EQ(run.index, index);
  EXPECT_EQ(run.end_index, end_index);
}

// ---- random segments ----

class RandomSegment {
 public:
  explicit RandomSegment(unsigned seed, bool sound = false)
      : random_(seed), segment_(kMinSegmentSize << Below(3)), sound_(sound) {}

  // Returns where they end.
  static uint64_t FillWithSoundFrames(Segment* segment) {
    uint64_t at = kSegmentHeaderSize;
    for (uint32_t index = 0; at + kFrameHeaderSize + 100 <= segment->size(); ++index) {
      at = segment->Commit(at, index, 100);
    }
    return at;
  }

  Segment& Make() {
    uint64_t offset = kSegmentHeaderSize;
    uint32_t index = 0;
    while (offset + kFrameHeaderSize + kMaxFill < segment_.size()) offset = Add(offset, &index);
    return segment_;
  }

 private:
  uint64_t Below(uint64_t limit) { return std::uniform_int_distribution<uint64_t>(0, limit - 1)(random_); }

  // Words that read as headers of long frames, whichever one it is read from.
  void FillWithPlausibleHeaders(uint64_t from, uint64_t to) {
    for (uint64_t at = from; at + 8 <= to; at += 8) {
      const uint64_t low = kFrameHeaderSize + Below((at - kSegmentHeaderSize) / 4 + 1);
      Store(segment_.data() + at, low | Below(low) << 32);
    }
  }

  void FillWithFrames(uint64_t from, uint64_t to, uint32_t index) {
    for (uint64_t at = from; at + kFrameHeaderSize + 100 <= to; index += static_cast<uint32_t>(Below(3))) {
      const uint64_t next = segment_.Commit(at, index, Below(77));
      if (Below(4) == 0) segment_.Damage(at);
      at = next + (Below(4) == 0 ? 8 : 0);
    }
  }

  // A frame, whole or not, with a payload that is nothing or looks like frames; its own or, if damaged, nobody's.
  uint64_t Add(uint64_t offset, uint32_t* index) {
    const uint64_t payload_size = Below(3) == 0 ? Below(kMaxFill) : Below(300);
    const uint64_t payload = offset + kFrameHeaderSize;
    const uint64_t kind = Below(4);
    if (kind == 0) FillWithPlausibleHeaders(payload, payload + payload_size);
    if (kind == 1)
      FillWithFrames(payload, payload + payload_size, *index - std::min(*index, static_cast<uint32_t>(Below(5))));
    if (kind == 2) FillWithFrames(payload, payload + payload_size, *index + static_cast<uint32_t>(Below(5)));
    const uint64_t next = segment_.Commit(offset, (*index)++, payload_size);
    if (sound_) return next;
    if (Below(8) == 0) {
      const auto length = static_cast<uint32_t>(next - offset);
      StoreFiller(segment_.data(), offset, length, *index - 1, 1, segment_.salt_checksum());
    }
    if (Below(3) == 0) segment_.Damage(offset);
    if (Below(8) == 0) segment_.Fill(offset, offset + kFrameHeaderSize, 0);
    return next;
  }

  std::mt19937 random_;
  Segment segment_;
  bool sound_;  // what is in payloads may be damaged, the frames themselves are not
};

TEST(ScanSearchTest, FindsWhatThePlainSearchFinds) {
  const unsigned first = std::random_device{}();
  uint64_t cheaper = 0;
  for (unsigned seed = first; seed != first + 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Segment segment = RandomSegment(seed).Make();
    for (const uint64_t cut : {0, 1, 5003}) {  // a file that was cut short may end anywhere
      const uint64_t end = segment.size() - cut;
      CrcCount plain_count;
      const SegmentScan expected = PlainScan(segment.data(), end, segment.identity());
      const uint64_t plain = plain_count.bytes();
      CrcCount count;
      ASSERT_NO_FATAL_FAILURE(ExpectSameScan(ScanSegment(segment.data(), end, segment.identity(), false), expected));
      cheaper += count.bytes() < plain ? 1u : 0u;
    }
  }
  EXPECT_GT(cheaper, 0u) << "no segment needed more than whole CRCs: this tested nothing";
}

// ---- several threads ----

SideBySide InParts(uint64_t part_size, uint64_t written, unsigned threads = 1) {
  return {.threads = threads, .part_size = part_size, .written = written, .fetch = [](uint64_t, uint64_t) {}};
}

TEST(ScanFirstRunTest, FindsWhatOneThreadFinds) {
  const unsigned first = std::random_device{}();
  uint64_t long_runs = 0;
  for (unsigned seed = first; seed != first + 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](uint64_t limit) { return random() % limit; };
    RandomSegment maker(seed, /*sound=*/below(2) == 0);
    Segment segment = maker.Make();
    const uint64_t end = segment.size() - (below(3) == 0 ? below(5003) : 0);
    const uint64_t written = below(4) == 0 ? end : below(end);
    const uint64_t part_size = kFrameAlignment * (1 + below(below(2) == 0 ? 50 : 4000));
    const SegmentScan expected = ScanSegment(segment.data(), end, segment.identity(), true);
    if (!expected.runs.empty() && expected.runs[0].end > kSegmentHeaderSize + 3 * part_size) ++long_runs;
    const unsigned threads = 1 + static_cast<unsigned>(below(3));
    ASSERT_NO_FATAL_FAILURE(ExpectSameScan(
        ScanFirstRun(segment.data(), end, segment.identity(), InParts(part_size, written, threads)), expected));
  }
  EXPECT_GT(long_runs, 30u) << "hardly any run went on from one part to the next";
}

TEST(ScanFirstRunTest, EndsWhereTheNextPartBeginsWithAnotherIndex) {
  Segment segment(kMinSegmentSize);
  uint64_t at = kSegmentHeaderSize;
  for (uint32_t index = 0; index < 20; ++index) at = segment.Commit(at, index < 10 ? index : index + 2, 104);
  constexpr uint64_t kPart = 10 * (kFrameHeaderSize + 104);  // the gap is between two parts
  const SegmentScan scan = ScanFirstRun(segment.data(), segment.size(), segment.identity(), InParts(kPart, at));
  ASSERT_EQ(scan.runs.size(), 1u);
  ExpectRun(scan.runs[0], kSegmentHeaderSize, kSegmentHeaderSize + kPart, 0, 10);
}

TEST(ScanFirstRunTest, LooksAtAPartWithOneOfTheThreads) {
  Segment segment(kMinSegmentSize);
  const uint64_t end = RandomSegment::FillWithSoundFrames(&segment);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<uint64_t> parts;
  constexpr uint64_t kPart = 4096;
  SideBySide how = InParts(kPart, end, 3);
  how.fetch = [&](uint64_t offset, uint64_t length) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(length, std::min(kPart, end - offset));
    EXPECT_TRUE(parts.insert(offset).second) << "twice";
    threads.insert(std::this_thread::get_id());
    if (threads.size() < 3) {  // or the first one is through before the last one has begun
      mutex.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      mutex.lock();
    }
  };
  ScanFirstRun(segment.data(), segment.size(), segment.identity(), how);
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_EQ(parts.size(), (end - kSegmentHeaderSize + kPart - 1) / kPart);
}

// Each part would look for its first frame among megabytes of headers, each with megabytes behind it to take the CRC
// of.
TEST(ScanFirstRunTest, GivesUpWhereFindingTheFirstFrameTakesLong) {
  constexpr uint64_t kSize = uint64_t{1} << 20;
  Segment segment(kSize);
  for (uint64_t at = kSegmentHeaderSize + kFrameHeaderSize; at + 8 <= kSize; at += 8) {
    const uint64_t low = kFrameHeaderSize + (kSize - at) / 2;
    Store(segment.data() + at, low | low << 32);
  }
  const uint64_t payload_size = kSize - kSegmentHeaderSize - kFrameHeaderSize;
  segment.Commit(kSegmentHeaderSize, 0, payload_size);
  CrcCount count;
  const SegmentScan scan = ScanFirstRun(segment.data(), kSize, segment.identity(), InParts(4096, kSize));
  ASSERT_EQ(scan.runs.size(), 1u);
  ExpectRun(scan.runs[0], kSegmentHeaderSize, kSize, 0, 1);
  EXPECT_LT(count.bytes(), 4 * kSize);
}

TEST(ScanFirstRunTest, LooksOnceAtWhatEndsTheRun) {
  constexpr uint64_t kSize = uint64_t{1} << 20;
  Segment segment(kSize);
  const uint64_t damaged = segment.Commit(kSegmentHeaderSize, 0, 100);
  segment.Commit(damaged, 1, kSize / 2);
  segment.Damage(damaged);
  CrcCount count;
  const SegmentScan scan = ScanFirstRun(segment.data(), kSize, segment.identity(), InParts(4096, kSize));
  ASSERT_EQ(scan.runs.size(), 1u);
  ExpectRun(scan.runs[0], kSegmentHeaderSize, damaged, 0, 1);
  EXPECT_LT(count.bytes(), 2 * kSize);
}

// ---- frames within frames ----

class ScanNestedFrameTest : public testing::Test {
 protected:
  // Frames 0 to 2 of nothing, and frame 3 with the image of a frame in its payload, damaged. Frame 4 follows.
  void Write(uint32_t image_index) {
    uint64_t offset = kSegmentHeaderSize;
    for (uint32_t index = 0; index < 3; ++index) offset = segment_.Commit(offset, index, 40);
    damaged_ = offset;
    image_ = damaged_ + kFrameHeaderSize + 64;
    image_end_ = segment_.Commit(image_, image_index, 40);
    next_ = segment_.Commit(damaged_, 3, 400);
    end_ = segment_.Commit(next_, 4, 40);
    segment_.Damage(damaged_);
  }

  Segment segment_{kMinSegmentSize};
  uint64_t damaged_ = 0;
  uint64_t image_ = 0;
  uint64_t image_end_ = 0;
  uint64_t next_ = 0;
  uint64_t end_ = 0;
};

// What can be in a payload was committed before it: its index is lower, and the frames before the gap stand for it.
TEST_F(ScanNestedFrameTest, OneFromBeforeTheGapIsNotFound) {
  for (uint32_t index : {0u, 2u}) {
    Write(index);
    const SegmentScan scan = segment_.Scan();
    ASSERT_EQ(scan.runs.size(), 2u);
    ExpectRun(scan.runs[0], kSegmentHeaderSize, damaged_, 0, 3);
    ExpectRun(scan.runs[1], next_, end_, 4, 5);
  }
}

TEST_F(ScanNestedFrameTest, IndexesGrowFromRunToRun) {
  Write(3);
  const SegmentScan scan = segment_.Scan();
  ASSERT_EQ(scan.runs.size(), 3u);
  ExpectRun(scan.runs[1], image_, image_end_, 3, 4);
  ExpectRun(scan.runs[2], next_, end_, 4, 5);
}

TEST_F(ScanNestedFrameTest, AFrameBehindAHigherIndexIsNotFound) {
  Write(5);
  const SegmentScan scan = segment_.Scan();
  ASSERT_EQ(scan.runs.size(), 2u);
  ExpectRun(scan.runs[1], image_, image_end_, 5, 6);
}

TEST_F(ScanNestedFrameTest, InAWholeFrameItIsOnlyPayload) {
  Write(3);
  segment_.Damage(damaged_);  // once more: as it was
  const SegmentScan scan = segment_.Scan();
  ASSERT_EQ(scan.runs.size(), 1u);
  ExpectRun(scan.runs[0], kSegmentHeaderSize, end_, 0, 5);
}

// ---- what it costs ----

TEST(ScanSearchCostTest, WhatFollowsADamagedFrameIsFoundWithoutTheIndexOfRanges) {
  Segment segment(kMinSegmentSize);
  const uint64_t second = segment.Commit(kSegmentHeaderSize, 0, 20'000);
  segment.Commit(second, 1, 20'000);
  segment.Damage(kSegmentHeaderSize);
  const CrcCount count;
  EXPECT_EQ(segment.Scan().runs.size(), 1u);
  EXPECT_LT(count.bytes(), 2 * 20'100u);
}

// With the whole CRC of each candidate this is 10,000 times the segment's size and more.
constexpr uint64_t kMostPerByte = 50;

TEST(ScanSearchCostTest, IntegersThatReadAsHeadersAreSearchedInBoundedTime) {
  constexpr uint64_t kValue = 100'000;  // length, index and synced of what begins at any of them
  Segment segment(uint64_t{4} << 20);
  segment.Fill(kSegmentHeaderSize, segment.size(), kValue | kValue << 32);
  const uint64_t last = segment.size() - 4096;
  const uint64_t end = segment.Commit(last, kValue + 1, 1000);
  const CrcCount count;
  const SegmentScan scan = segment.Scan();
  EXPECT_LT(count.bytes(), kMostPerByte * segment.size());
  ASSERT_EQ(scan.runs.size(), 1u);
  ExpectRun(scan.runs[0], last, end, kValue + 1, kValue + 2);
}

// Each valid frame makes the one behind it due, and that one reads as if it took the rest of the segment.
TEST(ScanSearchCostTest, DamagedFramesThatAreDueAreSearchedInBoundedTime) {
  Segment segment(uint64_t{1} << 20);
  uint64_t offset = kSegmentHeaderSize;
  for (uint32_t index = 0; offset + 100 < segment.size(); index += 2) {
    const uint64_t damaged = segment.Commit(offset, index, 0);
    offset = segment.Commit(damaged, index + 1, 0);
    Store(segment.data() + damaged, static_cast<uint32_t>(segment.size() - damaged));
  }
  const CrcCount count;
  const SegmentScan scan = segment.Scan();
  EXPECT_LT(count.bytes(), kMostPerByte * segment.size());
  EXPECT_EQ(scan.runs.size(), (offset - kSegmentHeaderSize) / (2 * kFrameHeaderSize));
}

}  // namespace
}  // namespace segwal
