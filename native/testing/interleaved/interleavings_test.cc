// The real appender, walk and syncer under every schedule that a few deviations give (scheduler.h): small cases with
// two or three writers, a rotation, a syncer that falls asleep and is woken, a reader.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/appender.h"
#include "core/committed_walk.h"
#include "core/syncer.h"
#include "core/writer_state.h"

namespace segwal {
namespace {

// Files on the heap. A sync copies, so that what is durable can be looked at.
class HeapPlatform final : public Platform {
 public:
  struct Content {
    explicit Content(uint64_t size) : words(size / 8), synced(size / 8) {}
    std::vector<uint64_t> words;  // aligned
    std::vector<uint64_t> synced;
    std::byte* data() { return reinterpret_cast<std::byte*>(words.data()); }
  };

  class HeapFile final : public File {
   public:
    explicit HeapFile(std::shared_ptr<Content>* content) : content_(content) {}
    Status Size(uint64_t* bytes) override { return *bytes = (*content_)->words.size() * 8, Status::Ok(); }
    Status Read(uint64_t, std::span<std::byte>, size_t*) override { return Nothing(); }
    Status Write(uint64_t, ByteView) override { return Nothing(); }
    Status Allocate(uint64_t bytes) override { return *content_ = std::make_shared<Content>(bytes), Status::Ok(); }
    Status Zero(uint64_t, uint64_t) override { return Nothing(); }
    Status Sync() override { return Status::Ok(); }
    std::shared_ptr<Content> content() const { return *content_; }

   private:
    std::shared_ptr<Content>* content_;
  };

  class HeapMapping final : public Mapping {
   public:
    explicit HeapMapping(std::shared_ptr<Content> content)
        : Mapping(content->data(), content->words.size() * 8), content_(std::move(content)) {}
    // In two halves: what is stored in between may or may not be in it.
    Status Sync(uint64_t offset, uint64_t length) override {
      const uint64_t begin = AlignDown(offset, kPageSize);
      const uint64_t end = std::min(AlignUp(offset + length, kPageSize), size());
      schedule::Flush();  // the kernel sees what the caller has stored
      schedule::Yield();
      std::memcpy(reinterpret_cast<std::byte*>(content_->synced.data()) + begin, data() + begin, end - begin);
      schedule::Yield();
      return Status::Ok();
    }
    Status Populate(uint64_t, uint64_t) override { return Status::Ok(); }

   private:
    const std::shared_ptr<Content> content_;
  };

  const std::map<std::string, std::shared_ptr<Content>>& files() const { return files_; }

  Status CreateDirectory(const std::string&) override { return Status::Ok(); }
  Status List(const std::string&, std::vector<DirectoryEntry>*) override { return Status::Ok(); }
  Status Rename(const std::string&, const std::string&) override { return Status::Ok(); }
  Status Remove(const std::string& path) override { return files_.erase(path), Status::Ok(); }
  Status SyncDirectory(const std::string&) override { return Status::Ok(); }
  Status CanonicalPath(const std::string& path, std::string* canonical) override {
    return *canonical = path, Status::Ok();
  }
  Status Open(const std::string& path, OpenMode, std::unique_ptr<File>* file) override {
    *file = std::make_unique<HeapFile>(&files_[path]);
    return Status::Ok();
  }
  Status Map(std::unique_ptr<File> file, uint64_t, bool, std::unique_ptr<Mapping>* mapping) override {
    *mapping = std::make_unique<HeapMapping>(static_cast<HeapFile&>(*file).content());
    return Status::Ok();
  }
  Status Lock(const std::string&, const std::string&, std::unique_ptr<DirectoryLock>*) override { return Nothing(); }
  uint64_t Now() const override { return 1'000'000; }
  uint64_t CoarseNow() const override { return 1'000'000; }
  // Who looks at the clock until a time has come does come to an end.
  uint64_t Monotonic() const override {
    schedule::Pass(5000);
    return schedule::Now();
  }
  BootId CurrentBoot() const override { return {std::byte{1}}; }
  uint32_t ProcessId() const override { return 1; }
  std::string HostName() const override { return "heap"; }
  Status Random(std::span<std::byte> out) override {
    for (std::byte& byte : out) byte = static_cast<std::byte>(++random_);
    return Status::Ok();
  }

 private:
  static Status Nothing() { return Status(ErrorCode::kIo, "not needed here"); }

  std::map<std::string, std::shared_ptr<Content>> files_;
  uint8_t random_ = 0;
};

void Require(bool holds, const std::string& what) {
  if (!holds) schedule::Fail(what);
}
void Require(const Status& status) { Require(status.ok(), status.message()); }

std::shared_ptr<Reclaimer> StoppedReclaimer() {
  auto reclaimer = Reclaimer::Start();
  reclaimer->Stop();
  return reclaimer;
}

// A log made of its parts, without a directory to recover and with the spares that the case needs.
class Case final : public DurabilityListener {
 public:
  explicit Case(uint64_t sync_delay_us, int spares) : spares_(spares) {
    state_.max_frame_size = kMinSegmentSize - kSegmentHeaderSize;
    Require(Allocator::MakeSegment(state_, log_id_, 1, kMinSegmentSize, kMinSegmentSize, &state_.current));
    state_.current->Activate(1, platform_.Now(), state_.boot, state_.pid);
    state_.current->byte_base = -static_cast<int64_t>(kSegmentHeaderSize);
    Require(state_.current->Sync(0, kSegmentHeaderSize));  // as opening does
    catalog_.AddLive(state_.current);
    begin_ = {.segment = state_.current, .offset = kSegmentHeaderSize, .sequence = 0};
    {
      const std::lock_guard lock(state_.mutex);
      state_.PublishLimit(*state_.current);
    }
    walk_ = std::make_unique<CommittedWalk>(state_, begin_);
    syncer_ = std::make_unique<Syncer>(state_, *walk_, begin_, SyncPolicy{.delay_us = sync_delay_us});
    syncer_->AddListener(this);
    Supply();
  }
  ~Case() override {
    syncer_.reset();
    walk_.reset();
    state_.spare = nullptr;
    state_.current = nullptr;
    begin_ = {};
    made_.clear();
    catalog_.Clear();
  }

  WriterState& state() { return state_; }
  Syncer& syncer() { return *syncer_; }
  CommittedWalk& walk() { return *walk_; }

  // A writer's life: records of `size` bytes that begin with its name.
  void Write(char name, int records, size_t size) {
    Appender appender(state_);
    for (int i = 0; i < records; ++i) {
      Append(appender, name, size);
      Supply();
    }
  }
  void Append(Appender& appender, char name, size_t size) {
    const std::string data(size, name);
    const uint64_t sequence = appender.AppendPlain(data.data(), data.size());
    Require(sequence != 0, "an append was refused: " + appender.failure().message());
    Require(appended_.emplace(sequence, data).second, "a sequence number was handed out twice");
  }

  // What a truncation begins and ends with, when it takes nothing away: nobody claims in between.
  void StopAppends() {
    const std::lock_guard lock(state_.mutex);
    state_.truncating = true;
    state_.current->pointer().fetch_or(kSealedBit);
  }
  void LetAppendsGoOn() {
    const std::lock_guard lock(state_.mutex);
    state_.truncating = false;
    std::atomic<uint64_t>& pointer = state_.current->pointer();
    pointer.store(pointer.load() & ~kSealedBit);
    state_.writer_wake.notify_all();
  }

  // A reader's life: whatever the walk says is committed has to be readable, and whole.
  void Read(int times) {
    for (int i = 0; i < times; ++i) CheckFrames(begin_, walk_->Advance(), false);
  }

  void OnDurable(uint64_t watermark) override {
    Require(watermark > told_, "the watermark did not move forward");
    told_ = watermark;
    CheckSynced(watermark);
  }
  void OnPoisoned(const Status&) override { schedule::Fail("poisoned"); }
  void OnRoom(const Status&) override {}

  // At the end: every record is there, once, and durable.
  void CheckAll(uint64_t records) {
    const CommittedWalk::Position end = walk_->Advance();
    Require(appended_.size() == records, "not all appends returned");
    Require(appended_.rbegin()->first == records, "sequence numbers were left out");
    Require(end.sequence == records, "a record was lost: the log ends with " + std::to_string(end.sequence));
    CheckFrames(begin_, end, true);
    Require(
        state_.durable.load() == records,
        "a wake-up was lost: durable is " + std::to_string(state_.durable.load()) + " of " + std::to_string(records));
  }

 private:
  void Supply() {
    const std::lock_guard lock(state_.mutex);
    if (state_.spare || spares_-- <= 0) return;
    Require(Allocator::MakeSegment(state_, log_id_, state_.current->id() + 1, kMinSegmentSize, kMinSegmentSize,
                                   &state_.spare));
    made_[state_.spare->id()] = state_.spare;
    state_.writer_wake.notify_all();
  }

  void CheckFrames(CommittedWalk::Position at, const CommittedWalk::Position& end, bool contents) {
    uint64_t sequence = 0;
    while (sequence < end.sequence) {
      Frame frame;
      const Segment& segment = *at.segment;
      const auto index = static_cast<uint32_t>(sequence + 1 - segment.base_sequence());
      const FrameState found =
          CheckFrame(segment.data(), at.offset, segment.size(), index, segment.salt_checksum(), &frame);
      if (found == FrameState::kValid) {
        at.offset += frame.padded_length();
        sequence += frame.count;
        if (contents) {
          const std::string& data = appended_[sequence];
          Require(data.size() == frame.payload_size && std::memcmp(data.data(), frame.payload, data.size()) == 0,
                  "record " + std::to_string(sequence) + " is another");
        }
        continue;
      }
      const auto next = made_.find(segment.id() + 1);
      Require(found == FrameState::kUnclaimed && next != made_.end(),
              "record " + std::to_string(sequence + 1) + " is called committed and is not whole");
      at = {.segment = next->second, .offset = kSegmentHeaderSize};
    }
  }

  // What the files hold of the medium proves every record up to the watermark.
  void CheckSynced(uint64_t watermark) {
    uint64_t sequence = 0;
    for (const auto& [path, content] : platform_.files()) {
      const auto* const bytes = reinterpret_cast<const std::byte*>(content->synced.data());
      SegmentIdentity identity;
      if (sequence >= watermark) return;
      Require(LoadIdentity(bytes, &identity) == SectorState::kValid, "durable records in a segment without identity");
      uint64_t offset = kSegmentHeaderSize;
      Frame frame;
      while (CheckFrame(bytes, offset, kMinSegmentSize, static_cast<uint32_t>(sequence + 1 - identity.base_sequence),
                        SaltChecksum(identity.salt), &frame) == FrameState::kValid) {
        offset += frame.padded_length();
        sequence += frame.count;
      }
    }
    Require(sequence >= watermark, "the watermark is ahead of the medium");
  }

  HeapPlatform platform_;
  const LogId log_id_{};
  const LogDirectory directory_{platform_, "/log"};
  const std::shared_ptr<Reclaimer> reclaimer_ = StoppedReclaimer();
  Catalog catalog_{platform_, directory_, reclaimer_};
  WriterState state_{platform_, directory_, catalog_, reclaimer_};
  CommittedWalk::Position begin_;
  std::unique_ptr<CommittedWalk> walk_;
  std::unique_ptr<Syncer> syncer_;
  int spares_;
  std::map<uint64_t, std::shared_ptr<Segment>> made_;  // spares and what became of them
  std::map<uint64_t, std::string> appended_;
  uint64_t told_ = 0;
};

constexpr size_t kSmall = 16;
// Three of them do not fit into one segment.
constexpr size_t kThird = (kMinSegmentSize - kSegmentHeaderSize) / 3 + 8;

// All schedules with so many deviations, and some of the others by chance. With SEGWAL_DEVIATIONS=2 in the environment:
// all with two, which takes minutes.
void Explore(const std::function<void()>& body, int deviations = 1) {
  const char* const more = std::getenv("SEGWAL_DEVIATIONS");
  const schedule::Exploration all = schedule::Explore(more != nullptr ? std::atoi(more) : deviations, UINT64_MAX, body);
  ASSERT_EQ(all.failure, "") << "schedule " << all.runs;
  const uint64_t seed = std::random_device()();
  const schedule::Exploration some = schedule::Sample(seed, 4000, body);
  ASSERT_EQ(some.failure, "") << "seed " << seed << ", schedule " << some.runs;
  std::printf("%llu schedules, %llu by chance, %llu choices\n", static_cast<unsigned long long>(all.runs),
              static_cast<unsigned long long>(some.runs), static_cast<unsigned long long>(all.points + some.points));
}

// The writers have their appenders already: they take no lock on their way, and only the handshake of writer_state.h
// wakes the syncer.
TEST(InterleavingsTest, ASyncerThatFallsAsleepIsWoken) {
  Explore(
      [] {
        Case log(1000, 0);
        Appender first(log.state());
        Appender second(log.state());
        log.syncer().Start();
        std::thread a([&] { log.Append(first, 'a', kSmall); });
        std::thread b([&] { log.Append(second, 'b', kSmall); });
        a.join();
        b.join();
        schedule::WaitUntilQuiet();  // nobody asks for durability: the background sync has to come by itself
        log.CheckAll(2);
        log.syncer().Stop();
      },
      2);
}

TEST(InterleavingsTest, NoRecordIsLostAtARotation) {
  Explore([] {
    Case log(1000, 2);
    log.syncer().Start();
    std::thread a([&] { log.Write('a', 3, kThird); });
    std::thread b([&] { log.Write('b', 2, kSmall); });  // these still fit where those of a do not
    a.join();
    b.join();
    schedule::WaitUntilQuiet();
    log.CheckAll(5);
    log.syncer().Stop();
  });
}

TEST(InterleavingsTest, AReaderSeesWholeFramesOnly) {
  Explore([] {
    Case log(0, 1);
    std::thread a([&] { log.Write('a', 2, kThird); });
    std::thread b([&] { log.Write('b', 1, kThird); });
    std::thread reader([&] { log.Read(3); });
    a.join();
    b.join();
    reader.join();
    Require(log.syncer().Step());
    log.CheckAll(3);
  });
}

// A truncation seals the active segment for a while. By the time at which a walk has seen that, appends may have gone
// on, have filled the segment, and be in the next one.
TEST(InterleavingsTest, TheEndOfATruncationIsNotTheEndOfASegment) {
  Explore([] {
    Case log(0, 1);
    log.Write('a', 1, kSmall);
    log.StopAppends();
    std::thread reader([&] { log.Read(2); });
    std::thread writer([&] {
      log.LetAppendsGoOn();
      log.Write('b', 3, kThird);
    });
    reader.join();
    writer.join();
    Require(log.syncer().Step());
    log.CheckAll(4);
  });
}

TEST(InterleavingsTest, WhoWaitsForDurabilityIsTold) {
  Explore([] {
    Case log(0, 1);
    log.syncer().Start();
    const auto write_and_wait = [&log](char name) {
      log.Write(name, 1, kThird);
      Require(log.syncer().Wait(log.state().AppendedSequence()));
    };
    std::thread a([&] { write_and_wait('a'); });
    std::thread b([&] { write_and_wait('b'); });
    a.join();
    b.join();
    log.CheckAll(2);
    log.syncer().Stop();
  });
}

TEST(InterleavingsTest, ThreeWritersGetPlacesOfTheirOwn) {
  Explore([] {
    Case log(0, 0);
    std::thread a([&] { log.Write('a', 1, kSmall); });
    std::thread b([&] { log.Write('b', 1, kSmall); });
    std::thread c([&] { log.Write('c', 1, kSmall); });
    a.join();
    b.join();
    c.join();
    Require(log.syncer().Step());
    log.CheckAll(3);
  });
}

}  // namespace
}  // namespace segwal
