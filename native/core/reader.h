// Reader: a cursor over the committed records of a log, forwards or backwards. Every frame's checksum is verified
// before a byte of it is handed out.
#pragma once

#include <memory>
#include <vector>

#include "core/catalog.h"
#include "core/types.h"

namespace segwal {

// Threads: one at a time. Holds the segment that it is in mapped, so that neither rotation nor truncation can take it
// away.
class Reader {
 public:
  // A reader over what `filter` leaves of first … last, all of which is committed. kTruncated when `filter.segment`
  // names a segment that is gone, kNotFound when there never was one. `catalog` must outlive the reader, or Close be
  // called.
  // `cuts`: those of the catalog before `last` was asked for.
  static Status Make(Catalog& catalog, uint64_t cuts, uint64_t first, uint64_t last, ReadFilter filter,
                     std::unique_ptr<Reader>* reader);

  // Fills `chunk` with the next records; a count of 0 with no `needed` is the end. kCorrupt at a frame that cannot be
  // read, kTruncated when the segment was deleted meanwhile or where the log was truncated behind a record, kIo when
  // its file was cut short or could not be read.
  Status Fill(ReadChunk* chunk);

  // The records of the compressed batch that Fill has just handed out, of `plain`, which is what its codec made of it:
  // those that the filter leaves, with offsets in `plain`. kCorrupt when it is no batch of as many records.
  Status Expand(ByteView plain, std::vector<RecordDescriptor>* records);

  // Goes on up to `last` where the reader had come to its end; all of it must be committed. What the filter says of the
  // end holds on. Only forwards.
  void Extend(uint64_t last);

  // Lets go of the segment; Fill then returns nothing.
  void Close();

 private:
  Reader(Catalog& catalog, uint64_t cuts, const ReadFilter& filter, uint64_t wanted_to,
         std::unique_ptr<Holds::Hold> hold);

  struct Item {
    RecordView record;  // of a compressed batch: its bytes
    uint64_t sequence;
    double time_ms;
    // Of a compressed batch, which is an item as a whole, because only its codec knows its records.
    uint8_t codec = 0;
    uint32_t count = 0;
    uint32_t plain_size = 0;
  };

  Status FillFromItems(ReadChunk* chunk);
  // Ends the range where the log was truncated since the last look, should it go further.
  void NoteCuts();
  // What is to be said of a chunk that was filled while the log was truncated, perhaps. `status`: of the filling.
  Status CheckCuts(Status status, ReadChunk* chunk);
  // kIo once memory of a segment had to be replaced while it was read: what was made of its bytes may be nonsense.
  Status CheckMemory();
  bool Exhausted() const { return closed_ || remaining_ == 0 || next_ < filter_.from || next_ > filter_.to; }
  // Makes view_ the segment that holds next_, after having moved next_ past segments that cannot hold a time of the
  // range: afterwards the reader may be exhausted.
  Status EnterSegment();
  // Fills items_ with the records that follow (forwards) or precede (backwards) next_, and moves next_ past them.
  Status LoadForward();
  Status LoadBackward();
  Status CheckCodec(const Frame& frame) const;
  // Alone in its chunk. False when the chunk has no room for it.
  bool EmitCompressed(const Item& item, ReadChunk* chunk);
  Status CheckedFrame(uint64_t offset, uint32_t index, Frame* frame) const;
  void AddItems(const Frame& frame);
  bool Wanted(const RecordView& record) const;
  // Moves on, or back, past frames of the present segment that cannot hold a time of the range.
  void SkipForward();
  void SkipBackward();
  // False when the chunk has no room left for the record.
  static bool Emit(const Item& item, size_t* used, ReadChunk* chunk);

  Catalog& catalog_;
  ReadFilter filter_;
  std::unique_ptr<Holds::Hold> hold_;  // cleanup leaves what is still to be read
  const uint64_t wanted_to_;           // filter_.to as the caller gave it
  const TimeRange times_;
  uint64_t remaining_;
  bool closed_ = false;

  uint64_t cuts_;           // of the catalog, that are known
  bool cut_ = false;        // what comes behind the range was dropped
  uint64_t view_cuts_ = 0;  // what view_ said of itself when it was entered

  uint64_t next_;  // the sequence to go on with
  std::shared_ptr<const SegmentView> view_;
  Status lost_;              // what CheckMemory found, for good
  uint64_t view_first_ = 1;  // the sequences that view_ holds; first > last: none
  uint64_t view_last_ = 0;
  SegmentIndex::Position position_;  // forwards: of the frame that holds next_, or one before it
  bool ask_times_ = false;           // parts of view_ may lie outside the range of time
  uint64_t asked_until_ = 0;         // forwards: frames before this offset need no more asking

  std::vector<Item> items_;  // wanted records of the frames last loaded, in the order to hand them out
  size_t next_item_ = 0;
  Item compressed_{};  // what Fill has handed out last, when that was a compressed batch
};

}  // namespace segwal
