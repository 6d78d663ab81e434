#include "core/utc.h"

#include <gtest/gtest.h>

namespace segwal {
namespace {

TEST(UtcTest, WritesTimesForPeople) {
  EXPECT_EQ(FormatUtc(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatUtc(951'826'154'999'999), "2000-02-29T12:09:14Z");
  EXPECT_EQ(FormatUtc(1'769'903'999'000'000), "2026-01-31T23:59:59Z");
}

}  // namespace
}  // namespace segwal
