#include "pg/reject_limit.hpp"

#include "pg/error_text.hpp"

namespace movielens_ingest::pg {

void require_import_goes_on(const Import *import, const Reject *reject, int64 refused) {
    const ImportOptions *options = &import->options;

    if (options->on_error == OnError::Stop) {
        ereport(ERROR, (errcode(reject->why.sqlerrcode),
                        errmsg("record at line " INT64_FORMAT " of file \"%s\" was refused: %s", reject->line_number,
                               show_name(import->path), reject->why.message),
                        reject->why.detail != nullptr ? errdetail_internal("%s", reject->why.detail) : 0));
    }
    if (options->reject_limit >= 0 && refused > options->reject_limit) {
        ereport(ERROR,
                (errcode(reject->why.sqlerrcode),
                 errmsg("more than %d records of file \"%s\" were refused, the last one at line " INT64_FORMAT ": %s",
                        options->reject_limit, show_name(import->path), reject->line_number, reject->why.message),
                 reject->why.detail != nullptr ? errdetail_internal("%s", reject->why.detail) : 0));
    }
}

} // namespace movielens_ingest::pg
