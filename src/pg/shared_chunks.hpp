/*
 * shared_chunks.hpp - hands out the chunks of a batch, to the slots of its leader and its workers.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

/*
 * Takes the next chunk for this slot. False: there is none. wait: sleeps while there may be one later, until another
 * process will not have one either.
 */
bool take_chunk(SharedBatch *batch, int slot, bool wait, int *import, int64 *number);
/*
 * Takes the chunk that the slot will load behind the one that it has, of the same import, if more than so many are left
 * then. It is the next that take_chunk() hands out to it. Returns its number, or 0.
 */
int64 take_next_chunk(SharedBatch *batch, int slot, int64 left);
/* The chunk that the slot has taken beforehand. False: none. */
bool take_own_chunk(SharedBatch *batch, int slot, int *import, int64 *number);
/* The slot gets no chunk any more, but for one that it has taken beforehand. Whether it was asked, for the last time.
 */
void ask_to_leave(SharedBatch *batch, int slot);
bool take_back_request_to_leave(SharedBatch *batch, int slot);
/* Leader: takes a certain chunk, one that was left. */
void take_left_chunk(SharedBatch *batch, int import, int64 number);
/* An attempt at the slot's chunk begins: none of its records has been refused. */
void forget_refused(SharedBatch *batch, int slot);
/* One more has. Returns how many of the whole file were, those of attempts that are going on included. */
int64 count_refused(SharedBatch *batch, int slot);
/* The slot's chunk is loaded, or given up. */
void finish_chunk(SharedBatch *batch, int slot, const ChunkEnd *end);
/*
 * The chunk that the slot's process left unfinished; number 0: it was at none. One that it had taken beforehand is left
 * too. False: neither.
 */
bool abandoned_chunk(SharedBatch *batch, int slot, int *import, int64 *number);

/* All imports that this one waits for are in. */
bool import_may_begin(SharedBatch *batch, int import);
/*
 * An import of many chunks of which others load some, and only a tenth at most is left to be handed out: its index, or
 * -1.
 */
int nearly_loaded_import(SharedBatch *batch);

/* How many chunks could be taken now, and how many processes have one in hand. */
int64 chunks_available(SharedBatch *batch);
int processes_loading(SharedBatch *batch);
/* True while there are chunks that nobody has taken yet, or may be. */
bool chunks_are_waiting(SharedBatch *batch);
/* No chunk of the import is being loaded, and none is left to be handed out, nor will there be one. */
bool import_is_drained(SharedBatch *batch, int import);

/* Leader: from now on only it loads; true once nobody else does. Until allow_others(). */
bool exclude_others(SharedBatch *batch);
void allow_others(SharedBatch *batch);

} // namespace movielens_ingest::pg
