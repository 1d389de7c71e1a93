/** How this program is run again, for commands that are told to be pasted: it is not in the PATH by itself. */
export function ownCommand(): string {
  // The single executable; all else is run in a checkout, where npx finds it.
  const isExecutable = process.argv[1]?.startsWith('/$bunfs/') === true;
  if (!isExecutable) return 'npx entrepot';
  return /^[\w./+-]+$/.test(process.execPath) ? process.execPath : './entrepot';
}
