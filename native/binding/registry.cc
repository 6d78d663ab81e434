#include "binding/registry.h"

#include <utility>

#include "core/directory.h"

namespace segwal {
namespace {

std::string Describe(const SyncPolicy& policy) {
  return "{maxDelay: " + std::to_string(policy.delay_us) + " us, maxRecords: " + std::to_string(policy.max_records) +
         ", maxBytes: " + std::to_string(policy.max_bytes) + "}";
}

std::string Describe(const Retention& retention) {
  const auto number = [](uint64_t value) { return value == UINT64_MAX ? "no bound" : std::to_string(value); };
  return "{maxAge: " + number(retention.max_age_us) + " us, maxBytes: " + number(retention.max_bytes) + "}";
}

// Options that contradict those of the log that is open already.
Status CheckJoin(const Log& log, const LogOptions& options) {
  const LogOptions& open = log.options();
  if (options.segment_size != 0 && options.segment_size != open.segment_size) {
    return Status(ErrorCode::kSegmentSizeMismatch,
                  "the log is open in this process with segments of " + std::to_string(open.segment_size) +
                      " bytes, but segmentSize asks for " + std::to_string(options.segment_size));
  }
  if (options.sync && *options.sync != *open.sync) {
    return Status(ErrorCode::kOptionsMismatch, "the log is open in this process with sync " + Describe(*open.sync) +
                                                   ", but this open asks for " + Describe(*options.sync));
  }
  if (options.max_dirty_bytes && *options.max_dirty_bytes != *open.max_dirty_bytes) {
    return Status(ErrorCode::kOptionsMismatch, "the log is open in this process with maxDirtyBytes " +
                                                   std::to_string(*open.max_dirty_bytes) + ", but this open asks for " +
                                                   std::to_string(*options.max_dirty_bytes));
  }
  if (options.recycle_segments && *options.recycle_segments != *open.recycle_segments) {
    return Status(ErrorCode::kOptionsMismatch,
                  "the log is open in this process with recycleSegments " + std::to_string(*open.recycle_segments) +
                      ", but this open asks for " + std::to_string(*options.recycle_segments));
  }
  if (options.retention && options.retention != open.retention) {
    return Status(ErrorCode::kOptionsMismatch,
                  "the log is open in this process with " +
                      (open.retention ? "retention " + Describe(*open.retention) : std::string("no retention")) +
                      ", but this open asks for retention " + Describe(*options.retention));
  }
  return Status::Ok();
}

}  // namespace

std::shared_ptr<LogShare::Entry> LogShare::EntryOf(const std::string& canonical) {
  // Never destroyed: native threads may outlive static destructors when the process exits.
  static auto& mutex = *new std::mutex;
  static auto& entries = *new std::unordered_map<std::string, std::weak_ptr<Entry>>;
  const std::lock_guard lock(mutex);
  std::erase_if(entries, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<Entry> entry = entries[canonical].lock();
  if (!entry) entries[canonical] = entry = std::make_shared<Entry>();
  return entry;
}

Status LogShare::Open(const std::string& directory, const LogOptions& options, std::unique_ptr<LogShare>* share) {
  Platform& platform = Platform::Default();
  auto opened = std::make_unique<LogShare>();
  if (options.read_only) {
    SEGWAL_TRY(Log::Open(platform, directory, options, &opened->log_));
    *share = std::move(opened);
    return Status::Ok();
  }
  if (options.create) SEGWAL_TRY(LogDirectory(platform, directory).CreateRoot());
  std::string canonical;
  SEGWAL_TRY(platform.CanonicalPath(directory, &canonical));
  std::shared_ptr<Entry> entry = EntryOf(canonical);
  const std::lock_guard lock(entry->mutex);
  if (entry->log) {
    SEGWAL_TRY(CheckJoin(*entry->log, options));
  } else {
    SEGWAL_TRY(Log::Open(platform, canonical, options, &entry->log));
  }
  ++entry->shares;
  opened->log_ = entry->log;
  opened->entry_ = entry;
  *share = std::move(opened);
  return Status::Ok();
}

Status LogShare::Close() {
  if (!log_) return Status::Ok();
  const std::shared_ptr<Log> log = std::move(log_);
  log_ = nullptr;
  const std::shared_ptr<Entry> entry = std::move(entry_);
  if (!entry) return log->Close();
  const std::lock_guard lock(entry->mutex);
  if (--entry->shares != 0) return log->WaitDurable(log->appended_sequence());
  entry->log = nullptr;
  return log->Close();
}

void LogShare::Abandon() {
  if (!log_) return;
  const std::shared_ptr<Log> log = std::move(log_);
  log_ = nullptr;
  const std::shared_ptr<Entry> entry = std::move(entry_);
  if (!entry) return log->Abandon();
  const std::lock_guard lock(entry->mutex);
  if (--entry->shares != 0) return;
  entry->log = nullptr;
  log->Abandon();
}

}  // namespace segwal
