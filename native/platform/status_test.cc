#include "platform/status.h"

#include <gtest/gtest.h>

#include <set>

namespace segwal {
namespace {

TEST(StatusTest, SuccessSaysNothing) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), ErrorCode::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.os_error(), 0);
  EXPECT_EQ(status.location().segment, 0u);
}

TEST(StatusTest, FailureCarriesCodeMessageAndTheErrorOfTheSystem) {
  const Status status(ErrorCode::kDiskFull, "no room", 28);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), ErrorCode::kDiskFull);
  EXPECT_EQ(status.message(), "no room");
  EXPECT_EQ(status.os_error(), 28);
}

TEST(StatusTest, DamageNamesItsPlace) {
  const Status status = Status::Corrupt("bad", {.segment = 3, .offset = 4096, .first_sequence = 7, .last_sequence = 9});
  EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
  EXPECT_EQ(status.location().segment, 3u);
  EXPECT_EQ(status.location().offset, 4096u);
  EXPECT_EQ(status.location().first_sequence, 7u);
  EXPECT_EQ(status.location().last_sequence, 9u);
}

TEST(StatusTest, ContextStandsBeforeTheMessageAndChangesNothingElse) {
  const Status status = Status(ErrorCode::kIo, "sync failed", 5).WithContext("segment 1").WithContext("append");
  EXPECT_EQ(status.message(), "append: segment 1: sync failed");
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_EQ(status.os_error(), 5);
  EXPECT_TRUE(Status().WithContext("nothing happened").ok());
}

TEST(StatusTest, ACopyIsAStatusOfItsOwn) {
  Status original(ErrorCode::kIo, "first");
  const Status copy = original;
  original = Status(ErrorCode::kClosed, "second");
  EXPECT_EQ(copy.message(), "first");
  EXPECT_EQ(original.code(), ErrorCode::kClosed);
  const Status moved = std::move(original);
  EXPECT_EQ(moved.message(), "second");
  Status assigned;
  assigned = moved;
  assigned = *&assigned;
  EXPECT_EQ(assigned.message(), "second");
}

TEST(StatusTest, EveryCodeHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int code = 0; code < kErrorCodeCount; ++code) names.insert(ErrorCodeName(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kErrorCodeCount));
  EXPECT_EQ(names.count("OK"), 1u);
  names.erase("OK");
  for (const std::string& name : names) EXPECT_EQ(name.rfind("WAL_", 0), 0u) << name;
}

Status Try(Status inner, bool* went_on) {
  SEGWAL_TRY(std::move(inner));
  *went_on = true;
  return Status::Ok();
}

TEST(StatusTest, TryReturnsTheFirstFailure) {
  bool went_on = false;
  EXPECT_EQ(Try(Status(ErrorCode::kAborted, "stop"), &went_on).message(), "stop");
  EXPECT_FALSE(went_on);
  EXPECT_TRUE(Try(Status(), &went_on).ok());
  EXPECT_TRUE(went_on);
}

}  // namespace
}  // namespace segwal
