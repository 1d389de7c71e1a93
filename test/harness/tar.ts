/** Just enough of the tar format for layers of one file. */

/** The ustar header of a regular file. Sizes of 8 GiB and above do not fit. */
export function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`0000644\0${'0000000\0'.repeat(2)}`, 100, 'latin1');
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write(`${'0'.repeat(11)}\0`, 136, 'latin1');
  header.write('        0', 148, 'latin1');
  header.write('ustar', 257, 'latin1');
  header.write('00', 263, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** The padding of a file of that size, and the end of the archive. */
export function tarEnd(size: number): Buffer {
  return Buffer.alloc(((512 - (size % 512)) % 512) + 1024);
}
