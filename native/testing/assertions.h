// What a Status is expected to be, with its message when it is something else.
#pragma once

#include <gtest/gtest.h>

#include "platform/status.h"

namespace segwal {

inline testing::AssertionResult HasCode(const Status& status, ErrorCode expected) {
  if (status.code() == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << ErrorCodeName(status.code()) << " instead of " << ErrorCodeName(expected)
                                     << ": " << status.message();
}

inline testing::AssertionResult Mentions(const Status& status, const std::string& part) {
  if (status.message().find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '"' << status.message() << "\" does not mention " << part;
}

}  // namespace segwal

#define ASSERT_OK(expression) ASSERT_TRUE(::segwal::HasCode((expression), ::segwal::ErrorCode::kOk))
#define EXPECT_OK(expression) EXPECT_TRUE(::segwal::HasCode((expression), ::segwal::ErrorCode::kOk))
#define EXPECT_CODE(expression, expected) EXPECT_TRUE(::segwal::HasCode((expression), ::segwal::ErrorCode::expected))
