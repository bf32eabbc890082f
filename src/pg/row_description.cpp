#include "pg/row_description.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kLongestShown = 64; /* bytes of a value, as in ExecConstraints */

const char *show_value(Form_pg_attribute attribute, Datum value, bool null) {
    Oid output;
    bool is_varlena;

    if (is_virtual(attribute)) {
        return "virtual"; /* no row has its value */
    }
    if (null) {
        return "null";
    }
    getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
    return OidOutputFunctionCall(output, value);
}

void append_clipped(StringInfo text, const char *value) {
    const int size = static_cast<int>(strlen(value));

    if (size <= kLongestShown) {
        appendBinaryStringInfo(text, value, size);
    } else {
        appendBinaryStringInfo(text, value, pg_mbcliplen(value, size, kLongestShown));
        appendStringInfoString(text, "...");
    }
}

bool may_select(Relation target, AttrNumber attnum) {
    return pg_attribute_aclcheck(RelationGetRelid(target), attnum, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

bool may_select_all(Relation target) {
    return pg_class_aclcheck(RelationGetRelid(target), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

} // namespace

const char *describe_failing_row(Relation target, const Datum *values, const bool *nulls, const Bitmapset *columns) {
    const TupleDesc desc = RelationGetDescr(target);
    const bool all = may_select_all(target);
    StringInfoData names;
    StringInfoData row;

    if (check_enable_rls(RelationGetRelid(target), InvalidOid, true) == RLS_ENABLED) {
        return nullptr;
    }
    initStringInfo(&names);
    initStringInfo(&row);
    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (attribute->attisdropped ||
            !(all || bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, columns) ||
              may_select(target, attribute->attnum))) {
            continue;
        }
        if (names.len > 0) {
            appendStringInfoString(&names, ", ");
            appendStringInfoString(&row, ", ");
        }
        appendStringInfoString(&names, NameStr(attribute->attname));
        append_clipped(&row, show_value(attribute, values[i], nulls[i]));
    }
    if (all) {
        return psprintf(_("Failing row contains %s."), psprintf("(%s)", row.data));
    }
    return names.len > 0 ? psprintf(_("Failing row contains %s."), psprintf("(%s) = (%s)", names.data, row.data))
                         : nullptr;
}

KeyDescription describe_key(Relation target, const int16 *attnums, int count, const Datum *values, const bool *nulls) {
    StringInfoData names;
    StringInfoData key;

    if (check_enable_rls(RelationGetRelid(target), InvalidOid, true) == RLS_ENABLED) {
        return {nullptr, nullptr};
    }
    const bool all = may_select_all(target);
    initStringInfo(&names);
    initStringInfo(&key);
    for (int i = 0; i < count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), attnums[i] - 1);

        if (!all && !may_select(target, attribute->attnum)) {
            return {nullptr, nullptr};
        }
        appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", NameStr(attribute->attname));
        appendStringInfo(&key, "%s%s", i > 0 ? ", " : "", show_value(attribute, values[i], nulls[i]));
    }
    return {names.data, key.data};
}

} // namespace movielens_ingest::pg
