/*-------------------------------------------------------------------------
 *
 * properties.h
 *		Properties of librdkafka that a user may set, and secrets in files.
 *
 * Floor 1.  One table in properties.c is the allow-list: what it does not
 * name is refused, for librdkafka can be told to load code, run commands,
 * read files and call function pointers by its properties.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_PROPERTIES_H
#define CDC_PROPERTIES_H

/* One property as it is handed to librdkafka. */
typedef struct CdcKafkaProperty
{
	const char *name;			/* librdkafka's name */
	const char *value;			/* secrets already read from their files */
	bool		secret;			/* never printed; overwritten after use */
} CdcKafkaProperty;

/* Where a user may name a property. */
typedef enum CdcPropertyPlace
{
	CDC_PROPERTY_SERVER = 1,
	CDC_PROPERTY_USER_MAPPING = 2,
	CDC_PROPERTY_TUNING = 4		/* options of a subscription */
} CdcPropertyPlace;

typedef enum CdcPropertyType
{
	CDC_PROPERTY_STRING,
	CDC_PROPERTY_INT,
	CDC_PROPERTY_BOOL,
	CDC_PROPERTY_ENUM,
	CDC_PROPERTY_LABEL			/* at most 64 of [A-Za-z0-9._-] */
} CdcPropertyType;

/* A row of the table. */
typedef struct CdcProperty
{
	const char *name;
	int			places;			/* CdcPropertyPlace, or'ed */
	CdcPropertyType type;
	int			min;
	int			max;
	const char *values;			/* of an ENUM, separated by ", " */
	bool		secret;
	bool		file;			/* name_file is an option too */
	const char *help;
} CdcProperty;

/* The row of a name (also of name_file); NULL: unknown or refused. */
extern const CdcProperty *cdc_property_find(const char *name);

/*
 * Checks name and value of an option where a user sets it.  A name that is
 * unknown or refused raises HV00D (22023 in options of a subscription) with
 * the nearest valid names as hint, a wrong value 22023.  _file options need a
 * superuser (42501).  Secret values are never printed.
 */
extern void cdc_property_check(const char *name, const char *value,
							   CdcPropertyPlace place);

/*
 * Turns an option into the property for librdkafka, reading _file options
 * from their file.  palloc's; ERROR HV00D for a name that is not allowed.
 */
extern void cdc_property_resolve(const char *name, const char *value,
								 CdcKafkaProperty *property);

/* Overwrites the values that are secret. */
extern void cdc_properties_wipe(CdcKafkaProperty *properties, int n);

/*
 * Reads a file of cdc_sink.secrets_directory, without the newline at its end.
 * name is a base name; the file must be a regular one that only root or the
 * server's user could have written and that others cannot read.  palloc'd.
 * ERROR 22023, 42501 or of class 58, never with any content.
 */
extern char *cdc_secret_read(const char *name);

#endif							/* CDC_PROPERTIES_H */
