/*-------------------------------------------------------------------------
 *
 * convert_geo.c
 *		Geometric types, PostGIS and pgvector.
 *
 * Floor 3.  The hard thing: none of the extensions is linked.  Their values
 * are written as the text that the types' own input functions read: hex EWKB
 * for PostGIS, lists for pgvector.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/shortest_dec.h"

#include "convert_rows.h"

/* flags of EWKB in the type word, and the types that we read */
#define WKB_SRID			0x20000000
#define WKB_FLAGS			0xE0000000
#define WKB_POINT			1
#define WKB_LINESTRING		2
#define WKB_POLYGON			3

/* Encoded strings and other text go through the type's input function. */
static Datum
geo_from_string(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_binary_decode(conv->source->binary_mode, value, &bytes);
	return cdc_input(conv, cdc_text_to_server((char *) bytes.data, bytes.len,
											  NULL));
}

/* Appends a member that is a number, or one of Java's three strings. */
static void
append_number(StringInfo out, const CdcJsonNode *object, const char *name)
{
	const CdcJsonNode *member = cdc_member(object, name);

	if (member == NULL ||
		(member->type != CDC_JSON_NUMBER && !cdc_node_is(member, "NaN") &&
		 !cdc_node_is(member, "Infinity") &&
		 !cdc_node_is(member, "-Infinity")))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, object,
				   psprintf("a structure with the number \"%s\"", name));
	appendBinaryStringInfo(out, member->text, member->len);
}

static void
append_xy(StringInfo out, const CdcJsonNode *object)
{
	appendStringInfoChar(out, '(');
	append_number(out, object, "x");
	appendStringInfoChar(out, ',');
	append_number(out, object, "y");
	appendStringInfoChar(out, ')');
}

/* --- reading WKB --- */

typedef struct WkbReader
{
	const CdcJsonNode *value;	/* for the message */
	const unsigned char *at;
	const unsigned char *end;
	bool		little_endian;
} WkbReader;

static void
refuse_wkb(const WkbReader *in)
{
	cdc_refuse(ERRCODE_INVALID_BINARY_REPRESENTATION, in->value,
			   "a geometry of the column's type");
}

static uint64
take_word(WkbReader *in, int size)
{
	uint64		word = 0;

	if (in->end - in->at < size)
		refuse_wkb(in);
	for (int i = 0; i < size; i++)
		word |= (uint64) in->at[i] <<
			8 * (in->little_endian ? i : size - 1 - i);
	in->at += size;
	return word;
}

/* Opens the wkb member and returns the geometry's type, flags taken off. */
static uint32
open_wkb(WkbReader *in, const CdcJsonNode *value)
{
	const CdcJsonNode *wkb = cdc_member(value, "wkb");
	CdcBuffer	bytes;
	uint32		type;

	if (wkb == NULL)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a structure with wkb");
	cdc_bytes_decode(wkb, &bytes);
	in->value = value;
	in->at = bytes.data;
	in->end = bytes.data + bytes.len;
	if (bytes.len < 5 || bytes.data[0] > 1)
		refuse_wkb(in);
	in->little_endian = *in->at++ == 1;
	type = (uint32) take_word(in, 4);
	if (type & WKB_SRID)
		(void) take_word(in, 4);
	return type & ~WKB_SRID;
}

static void
append_wkb_point(StringInfo out, WkbReader *in)
{
	char		text[2][DOUBLE_SHORTEST_DECIMAL_LEN];

	for (int i = 0; i < 2; i++)
	{
		uint64		word = take_word(in, 8);
		double		number;

		memcpy(&number, &word, sizeof(number));
		double_to_shortest_decimal_buf(number, text[i]);
	}
	appendStringInfo(out, "(%s,%s)", text[0], text[1]);
}

/*
 * Points of a linestring, or of the one ring of a polygon without its last
 * point, which repeats the first.  Appends them with commas between them and
 * returns their number.
 */
static uint32
append_wkb_points(StringInfo out, const CdcJsonNode *value)
{
	WkbReader	in;
	uint32		type = open_wkb(&in, value);
	uint32		npoints;

	if (type != WKB_LINESTRING &&
		(type != WKB_POLYGON || take_word(&in, 4) != 1))
		refuse_wkb(&in);
	npoints = (uint32) take_word(&in, 4);
	if (npoints != (in.end - in.at) / (2 * sizeof(double)))
		refuse_wkb(&in);
	if (type == WKB_POLYGON && npoints > 1)
		npoints--;
	for (uint32 i = 0; i < npoints; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_wkb_point(out, &in);
	}
	return npoints;
}

/* --- geometric types --- */

static Datum
point_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	initStringInfo(&out);
	if (cdc_member(value, "x") == NULL && cdc_member(value, "wkb") != NULL)
	{
		WkbReader	in;

		if (open_wkb(&in, value) != WKB_POINT)
			refuse_wkb(&in);
		append_wkb_point(&out, &in);
	}
	else
		append_xy(&out, value);
	return cdc_input(conv, out.data);
}

/* Corners of a box are every second point of its ring. */
static Datum
box_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;
	WkbReader	in;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	initStringInfo(&out);
	if (open_wkb(&in, value) != WKB_POLYGON || take_word(&in, 4) != 1 ||
		take_word(&in, 4) != 5)
		refuse_wkb(&in);
	append_wkb_point(&out, &in);
	appendStringInfoChar(&out, ',');
	in.at += 2 * sizeof(double);
	append_wkb_point(&out, &in);
	return cdc_input(conv, out.data);
}

static Datum
lseg_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	initStringInfo(&out);
	if (append_wkb_points(&out, value) != 2)
		cdc_refuse(ERRCODE_INVALID_BINARY_REPRESENTATION, value,
				   "a line segment");
	return cdc_input(conv, out.data);
}

/* extensions.closed tells a closed path from an open one. */
static Datum
path_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *extensions;
	const CdcJsonNode *closed = NULL;
	StringInfoData out;
	bool		open;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	extensions = cdc_member(value, "extensions");
	if (extensions != NULL)
		closed = cdc_member(extensions, "closed");
	open = closed != NULL &&
		(closed->type == CDC_JSON_FALSE || cdc_node_is(closed, "false"));
	initStringInfo(&out);
	appendStringInfoChar(&out, open ? '[' : '(');
	(void) append_wkb_points(&out, value);
	appendStringInfoChar(&out, open ? ']' : ')');
	return cdc_input(conv, out.data);
}

static Datum
polygon_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	initStringInfo(&out);
	appendStringInfoChar(&out, '(');
	(void) append_wkb_points(&out, value);
	appendStringInfoChar(&out, ')');
	return cdc_input(conv, out.data);
}

static Datum
circle_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *center;
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	center = cdc_member(value, "center");
	if (center == NULL)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a circle");
	initStringInfo(&out);
	appendStringInfoChar(&out, '<');
	append_xy(&out, center);
	appendStringInfoChar(&out, ',');
	append_number(&out, value, "radius");
	appendStringInfoChar(&out, '>');
	return cdc_input(conv, out.data);
}

static Datum
line_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return geo_from_string(conv, value);
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	append_number(&out, value, "a");
	appendStringInfoChar(&out, ',');
	append_number(&out, value, "b");
	appendStringInfoChar(&out, ',');
	append_number(&out, value, "c");
	appendStringInfoChar(&out, '}');
	return cdc_input(conv, out.data);
}

/* --- PostGIS --- */

/*
 * The hex text of the WKB, with the srid put in where the WKB has none: it
 * follows the type word, in the byte order of the geometry.
 */
static char *
ewkb_hex(const CdcJsonNode *value, const CdcBuffer *wkb,
		 const CdcJsonNode *srid)
{
	unsigned char *ewkb;
	bool		little = wkb->len > 0 && wkb->data[0] == 1;
	int			flag_byte = little ? 4 : 1;
	int64		number;

	if (wkb->len < 5 || wkb->data[0] > 1)
		cdc_refuse(ERRCODE_INVALID_BINARY_REPRESENTATION, value, "a geometry");
	if (srid == NULL || (wkb->data[flag_byte] & (WKB_SRID >> 24)))
		return cdc_hex_encode(wkb->data, wkb->len);
	number = cdc_node_int64(srid);
	if (number == 0)
		return cdc_hex_encode(wkb->data, wkb->len);
	ewkb = palloc(wkb->len + 4);
	memcpy(ewkb, wkb->data, 5);
	ewkb[flag_byte] |= WKB_SRID >> 24;
	for (int i = 0; i < 4; i++)
		ewkb[5 + i] = (uint32) number >> 8 * (little ? i : 3 - i);
	memcpy(ewkb + 9, wkb->data + 5, wkb->len - 5);
	return cdc_hex_encode(ewkb, wkb->len + 4);
}

/* {wkb, srid}, or {x, y} of a point; other text is PostGIS's own. */
static Datum
geometry_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *wkb = cdc_member(value, "wkb");
	const CdcJsonNode *srid = cdc_member(value, "srid");
	CdcBuffer	bytes;
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return cdc_input(conv, cdc_node_cstring(value));
	if (wkb != NULL)
	{
		cdc_bytes_decode(wkb, &bytes);
		return cdc_input(conv, ewkb_hex(value, &bytes, srid));
	}
	initStringInfo(&out);
	if (srid != NULL)
		appendStringInfo(&out, "SRID=%lld;", (long long) cdc_node_int64(srid));
	appendStringInfoString(&out, "POINT(");
	append_number(&out, value, "x");
	appendStringInfoChar(&out, ' ');
	append_number(&out, value, "y");
	appendStringInfoChar(&out, ')');
	return cdc_input(conv, out.data);
}

/* --- pgvector --- */

/* Appends an element of a vector; pgvector refuses what is not finite. */
static void
append_element(StringInfo out, const CdcJsonNode *value,
			   const CdcJsonNode *element)
{
	if (element->type != CDC_JSON_NUMBER && element->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a vector");
	appendStringInfoString(out, cdc_node_cstring(element));
}

static Datum
vector_from_array(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *child = cdc_json_first(value);
	StringInfoData out;

	if (value->type != CDC_JSON_ARRAY)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a vector");
	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (uint32_t i = 0; i < value->nchildren; i++)
	{
		if (i > 0)
			appendStringInfoChar(&out, ',');
		append_element(&out, value, child);
		child = cdc_json_next(child);
	}
	appendStringInfoChar(&out, ']');
	return cdc_input(conv, out.data);
}

static Datum
vector_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_STRING)
		return cdc_input(conv, cdc_node_cstring(value));
	return vector_from_array(conv, value);
}

/* Appends the pairs of an object or of an array of pairs as index:value. */
static void
append_pairs(StringInfo out, const CdcJsonNode *value,
			 const CdcJsonNode *pairs)
{
	const CdcJsonNode *child = cdc_json_first(pairs);
	bool		object = pairs->type == CDC_JSON_OBJECT;

	for (uint32_t i = 0; i < pairs->nchildren; i++)
	{
		const CdcJsonNode *key = child;

		if (!object && (child->type != CDC_JSON_ARRAY || child->nchildren != 2))
			cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
					   "a sparse vector");
		if (!object)
			key = cdc_json_first(child);
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_element(out, value, key);
		appendStringInfoChar(out, ':');
		append_element(out, value, cdc_json_next(key));
		child = object ? cdc_json_next(key + 1) : cdc_json_next(child);
	}
}

static Datum
sparsevec_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *dimensions = cdc_member(value, "dimensions");
	const CdcJsonNode *pairs = cdc_member(value, "vector");
	StringInfoData out;

	if (value->type == CDC_JSON_STRING)
		return cdc_input(conv, cdc_node_cstring(value));
	if (dimensions == NULL || pairs == NULL ||
		(pairs->type != CDC_JSON_OBJECT && pairs->type != CDC_JSON_ARRAY))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a sparse vector");
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	append_pairs(&out, value, pairs);
	appendStringInfo(&out, "}/%lld", (long long) cdc_node_int64(dimensions));
	return cdc_input(conv, out.data);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_POINT, point_from_any, "point_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_POINT, point_from_any, "point_from_any"},
	{CDC_FROM_ANY, CDC_TO_BOX, box_from_any, "box_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_BOX, box_from_any, "box_from_any"},
	{CDC_FROM_ANY, CDC_TO_LSEG, lseg_from_any, "lseg_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_LSEG, lseg_from_any, "lseg_from_any"},
	{CDC_FROM_ANY, CDC_TO_PATH, path_from_any, "path_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_PATH, path_from_any, "path_from_any"},
	{CDC_FROM_ANY, CDC_TO_POLYGON, polygon_from_any, "polygon_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_POLYGON, polygon_from_any, "polygon_from_any"},
	{CDC_FROM_ANY, CDC_TO_CIRCLE, circle_from_any, "circle_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_CIRCLE, circle_from_any, "circle_from_any"},
	{CDC_FROM_ANY, CDC_TO_LINE, line_from_any, "line_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_LINE, line_from_any, "line_from_any"},

	{CDC_FROM_ANY, CDC_TO_GEOMETRY, geometry_from_any, "geometry_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_GEOMETRY, geometry_from_any, "geometry_from_any"},

	{CDC_FROM_ANY, CDC_TO_VECTOR, vector_from_any, "vector_from_any"},
	{CDC_FROM_ARRAY, CDC_TO_VECTOR, vector_from_array, "vector_from_array"},
	{CDC_FROM_ANY, CDC_TO_SPARSEVEC, sparsevec_from_any, "sparsevec_from_any"},
	{CDC_FROM_STRUCT, CDC_TO_SPARSEVEC, sparsevec_from_any, "sparsevec_from_any"},
};

const CdcConvertTable cdc_rows_geo = {rows, lengthof(rows)};
