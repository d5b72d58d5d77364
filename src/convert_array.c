/*-------------------------------------------------------------------------
 *
 * convert_array.c
 *		Arrays of any type.
 *
 * Floor 3.  The hard thing: elements are converted one by one by the rule of
 * their own type, never by building an array literal, so that no element can
 * break out of its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"

#include "convert_rows.h"

/* Elements of one array, and what is known of its shape. */
typedef struct Collector
{
	const CdcConversion *element;
	int			ndims;
	int			dims[MAXDIM];
	int			lower_bounds[MAXDIM];
	Datum	   *values;
	bool	   *nulls;
	int			nvalues;
} Collector;

/* May a JSON array be an element's value, rather than a dimension? */
static bool
element_takes_arrays(const CdcConversion *element)
{
	switch ((CdcTo) element->target)
	{
		case CDC_TO_JSON:
		case CDC_TO_JSONB:
		case CDC_TO_VECTOR:
		case CDC_TO_HSTORE:
			return true;
		default:
			return false;
	}
}

/*
 * Finds the dimensions by the first element of each level and returns the
 * number of elements that the array then has.  ERROR where the text has
 * fewer values than that.
 */
static uint32_t
measure(Collector *out, const CdcJsonNode *array)
{
	const CdcJsonNode *value = array;
	uint64		total = 1;

	while (value->type == CDC_JSON_ARRAY)
	{
		if (out->ndims == MAXDIM)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("array has more than %d dimensions", MAXDIM)));
		out->dims[out->ndims] = value->nchildren;
		out->lower_bounds[out->ndims] = 1;
		total *= value->nchildren;
		if (total > array->span)
			cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, array,
					   "an array of even rows");
		out->ndims++;
		if (value->nchildren == 0 || element_takes_arrays(out->element))
			break;
		value = cdc_json_first(value);
	}
	return (uint32_t) total;
}

/* Converts the elements of one level, which must have the measured shape. */
static void
collect(Collector *out, const CdcJsonNode *value, int level)
{
	const CdcJsonNode *child = cdc_json_first(value);

	if (value->type != CDC_JSON_ARRAY ||
		value->nchildren != (uint32_t) out->dims[level])
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "an array of the same length as its siblings");
	for (uint32_t i = 0; i < value->nchildren; i++)
	{
		if (level + 1 < out->ndims)
			collect(out, child, level + 1);
		else
		{
			int			at = out->nvalues++;

			out->nulls[at] = child->type == CDC_JSON_NULL;
			out->values[at] = 0;
			if (!out->nulls[at])
				out->values[at] = out->element->convert(out->element, child);
			else if (out->element->is_domain)
				cdc_check_domain(out->element, 0, true);
		}
		child = cdc_json_next(child);
	}
}

static Datum
array_from_array(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcConversion *element = conv->element;
	Collector	out = {0};
	uint32_t	total;

	if (value->type != CDC_JSON_ARRAY)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an array");
	out.element = element;
	total = measure(&out, value);
	out.values = palloc(total * sizeof(Datum));
	out.nulls = palloc(total * sizeof(bool));
	collect(&out, value, 0);
	if (total == 0)
		return PointerGetDatum(construct_empty_array(element->typid));
	return PointerGetDatum(construct_md_array(out.values, out.nulls, out.ndims,
											  out.dims, out.lower_bounds,
											  element->typid, element->typlen,
											  element->typbyval,
											  element->typalign));
}

/* An array literal; it begins with a brace or with its bounds. */
static bool
is_literal(const char *text, size_t len)
{
	return len > 0 && (text[0] == '{' || text[0] == '[');
}

/*
 * Without a schema, or with a schema of another type: an array that the
 * source does not know arrives as its literal, plain or encoded.
 */
static Datum
array_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	if (value->type != CDC_JSON_STRING)
		return array_from_array(conv, value);
	if (is_literal(value->text, value->len))
		return cdc_input(conv, cdc_node_cstring(value));
	cdc_binary_decode(conv->source->binary_mode, value, &bytes);
	if (!is_literal((char *) bytes.data, bytes.len))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an array");
	return cdc_input(conv, cdc_text_to_server((char *) bytes.data, bytes.len,
											  NULL));
}

static Datum
array_from_bytes(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_bytes_decode(value, &bytes);
	if (!is_literal((char *) bytes.data, bytes.len))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an array");
	return cdc_input(conv, cdc_text_to_server((char *) bytes.data, bytes.len,
											  NULL));
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_ARRAY, array_from_any, "array_from_any"},
	{CDC_FROM_ARRAY, CDC_TO_ARRAY, array_from_array, "array_from_array"},
	{CDC_FROM_STRING, CDC_TO_ARRAY, array_from_any, "array_from_any"},
	{CDC_FROM_BYTES, CDC_TO_ARRAY, array_from_bytes, "array_from_bytes"},
};

const CdcConvertTable cdc_rows_array = {rows, lengthof(rows)};
