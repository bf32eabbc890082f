/*
 * boundary.hpp - between C++ and the backend.
 *
 * ereport(ERROR) is a longjmp: it skips destructors. A C++ exception must not cross a frame of the backend. So a
 * function that calls PostgreSQL holds only locals without destructors, objects of core that own memory hang on a
 * memory context, and what core throws while it is built becomes an error here, after the handler is closed.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Runs work(), which must not call PostgreSQL, and raises what it throws as an error. */
template <typename Work> void call_core(Work work) {
    int sqlerrcode = 0;
    char message[128] = "";

    /* Nothing of PostgreSQL is called in the handlers: leaving one by a longjmp would leak the exception. */
    try {
        work();
    } catch (const std::bad_alloc &) {
        sqlerrcode = ERRCODE_OUT_OF_MEMORY;
        memcpy(message, "out of memory", sizeof("out of memory"));
    } catch (const std::exception &e) {
        sqlerrcode = ERRCODE_INTERNAL_ERROR;
        strncpy(message, e.what(), sizeof(message) - 1);
    } catch (...) {
        sqlerrcode = ERRCODE_INTERNAL_ERROR;
        memcpy(message, "unknown C++ exception", sizeof("unknown C++ exception"));
    }
    if (sqlerrcode != 0) {
        ereport(ERROR, (errcode(sqlerrcode), errmsg_internal("%s", message)));
    }
}

/*
 * Makes an object of core that lives as long as the memory context: its destructor runs when the context is reset or
 * deleted, also by the abort of a transaction. Raises what its constructor throws.
 */
template <typename T, typename... Args> T *construct(MemoryContext context, Args... args) {
    static_assert(std::is_nothrow_destructible_v<T>);

    struct Holder {
        MemoryContextCallback callback;
        T *object;
    };

    /* The callback is registered first: nothing can fail between the construction and the ownership. */
    auto *holder = static_cast<Holder *>(MemoryContextAllocZero(context, sizeof(Holder)));
    holder->callback.func = [](void *arg) { delete static_cast<Holder *>(arg)->object; };
    holder->callback.arg = holder;
    MemoryContextRegisterResetCallback(context, &holder->callback);

    call_core([&] { holder->object = new T(args...); });
    return holder->object;
}

} // namespace movielens_ingest::pg

/* An SQL function, declared with C linkage and visible: before PostgreSQL 16 PG_FUNCTION_INFO_V1 does not do it. */
#define MOVIELENS_INGEST_FUNCTION(name)                                                                                \
    extern "C" {                                                                                                       \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                          \
    extern PGDLLEXPORT const Pg_finfo_record *CppConcat(pg_finfo_, name)(void);                                        \
    PG_FUNCTION_INFO_V1(name);                                                                                         \
    }                                                                                                                  \
    Datum name(PG_FUNCTION_ARGS)
