#include "core/file_kind.hpp"

#include <gtest/gtest.h>

#include <string>

namespace movielens_ingest::core {
namespace {

using namespace std::string_literals;

std::string kind_of(const std::string &bytes) {
    const FileKind *kind = file_kind(bytes.data(), bytes.size());
    return kind != nullptr ? kind->name : "";
}

TEST(FileKind, ByTheFirstBytes) {
    EXPECT_EQ(kind_of("\xFF\xFEi\0d\0"s), "UTF-16 text");
    EXPECT_EQ(kind_of("\xFE\xFF\0i\0d"s), "UTF-16 text");
    EXPECT_EQ(kind_of("\xFF\xFE\0\0i\0\0\0"s), "UTF-32 text");
    EXPECT_EQ(kind_of("\0\0\xFE\xFF\0\0\0i"s), "UTF-32 text");
    EXPECT_EQ(kind_of("version https://git-lfs.github.com/spec/v1\noid"), "a pointer of Git LFS");
    EXPECT_EQ(kind_of("PK\x03\x04"), "a zip archive or a spreadsheet");
    EXPECT_EQ(kind_of("\x1F\x8B\x08"), "a gzip file");
    EXPECT_EQ(kind_of("BZh9"), "a bzip2 file");
    EXPECT_EQ(kind_of("\xFD\x37zXZ\0"s), "an xz file");
    EXPECT_EQ(kind_of("\x28\xB5\x2F\xFD"), "a zstd file");
    EXPECT_EQ(kind_of("PAR1"), "a Parquet file");
    EXPECT_EQ(kind_of("SQLite format 3\0"s), "an SQLite database");
    EXPECT_EQ(kind_of("%PDF-1.7"), "a PDF document");
}

TEST(FileKind, HtmlInAnyLetterCaseBehindBlanks) {
    EXPECT_EQ(kind_of("<!DOCTYPE html>"), "an HTML page");
    EXPECT_EQ(kind_of("\xEF\xBB\xBF\r\n  <HtMl lang=en>"), "an HTML page");
    EXPECT_EQ(kind_of("<htm"), "");
    EXPECT_EQ(kind_of("id,<html>"), "");
    EXPECT_EQ(kind_of(std::string(2000, ' ') + "<html>"), "");
}

TEST(FileKind, Utf16WithoutMark) {
    EXPECT_EQ(kind_of("i\0d\0,\0a\0"s), "UTF-16 text");
    EXPECT_EQ(kind_of("\0i\0d\0,\0a"s), "UTF-16 text");
    EXPECT_EQ(kind_of("i\0d\0,\0"s), "");
    EXPECT_EQ(kind_of("i\0d\0,\0ab"s), "");
    EXPECT_EQ(kind_of("\0\0\0\0\0\0\0\0"s), "");
}

TEST(FileKind, NothingKnown) {
    EXPECT_EQ(kind_of(""), "");
    EXPECT_EQ(kind_of("P"), "");
    EXPECT_EQ(kind_of("\xFF"), "");
    EXPECT_EQ(kind_of("userId,movieId,rating,timestamp\r\n"), "");
    EXPECT_EQ(kind_of("\xEF\xBB\xBFid,name\n"), "");
}

} // namespace
} // namespace movielens_ingest::core
