/*-------------------------------------------------------------------------
 *
 * constraints.h
 *		Deferrable constraints are checked as rows are applied.
 *
 * Floor 4.  Rows are applied in a security-restricted operation, which cannot
 * leave anything to be checked later.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CONSTRAINTS_H
#define CDC_CONSTRAINTS_H

/*
 * SET CONSTRAINTS ALL IMMEDIATE.  Runs what is still to be checked, as the
 * present role: only for a transaction of our own, where nothing is.
 */
extern void cdc_constraints_immediate(void);
/*
 * The same in a transaction of somebody else, for the constraints of one
 * relation, its partitions and what refers to them, to the transaction's end.
 * Nothing of the caller's is run: ERROR 55006 where one of these constraints
 * has something to check that was put off.  Locks the relation like a
 * statement that writes it; nothing is done where it is gone.
 */
extern void cdc_constraints_immediate_on(Oid relid);

#endif							/* CDC_CONSTRAINTS_H */
