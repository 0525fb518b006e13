/** Columns that many tables have, and the words in them. */
import { enumText, sizeText } from '@nephos/client';
import { type Column, valueAt } from './table.ts';

export const nameColumn: Column = { title: 'NAME', path: 'header.displayName' };
export const uidColumn: Column = { title: 'UID', path: 'header.uid' };
export const createdColumn: Column = { title: 'CREATED', path: 'header.createTime', format: timeWord };

export function enumColumn(title: string, path: string): Column {
  return { title, path, format: (value) => (typeof value === 'string' ? enumText(value) : '-') };
}

/** A count, which proto JSON leaves out where it is 0. */
export function countColumn(title: string, path: string): Column {
  return { title, path, format: (value) => String(Number(value ?? 0)) };
}

export function sizeColumn(title: string, path: string): Column {
  return { title, path, format: (value) => (value === undefined ? '-' : sizeText(Number(value))) };
}

/** `used of whole`, by two paths. */
export function shareColumn(title: string, used: string, whole: string, word: (n: number) => string): Column {
  return {
    title,
    path: whole,
    format: (value, resource) =>
      `${word(Number(valueAt(resource, used) ?? 0))} of ${word(Number(value ?? 0))}`,
  };
}

/** `2026-11-23 05:02:48`, UTC. */
export function timeWord(value: unknown): string {
  return typeof value === 'string' ? value.replace('T', ' ').replace(/\.\d+Z$|Z$/, '') : '-';
}

const endOfUid = 12;

/** The end of a resource name's uid: enough to tell it by, and to find it by. */
export function referenceWord(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value.slice(-endOfUid) : '-';
}
