/*
 * Keeps a server from translating its messages, where a sanitizer's library
 * is preloaded: while that starts, glibc (2.36) leaves the lock of its
 * message catalogs unlocked once too often, and who asks for it to write
 * hangs.
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
