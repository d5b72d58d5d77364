/*-------------------------------------------------------------------------
 *
 * fuzz_preload.c
 *		Translations of messages, left out.
 *
 * Preloaded after the address sanitizer's runtime into a server that was not
 * built with it.  There glibc's bindtextdomain never gets its lock (seen with
 * clang 14, gcc 12 and glibc 2.36), and the fuzzer needs no translations.
 *
 *-------------------------------------------------------------------------
 */
char	   *bindtextdomain(const char *domain, const char *directory);
char	   *bind_textdomain_codeset(const char *domain, const char *codeset);
char	   *textdomain(const char *domain);

char *
bindtextdomain(const char *domain, const char *directory)
{
	return (char *) directory;
}

char *
bind_textdomain_codeset(const char *domain, const char *codeset)
{
	return (char *) codeset;
}

char *
textdomain(const char *domain)
{
	return (char *) domain;
}
