/** The certificate of our own authority in the forms in which machines take it. */
import { createHash } from 'node:crypto';
import { fingerprintOf } from './fingerprint.ts';

export interface RootForms {
  readonly pem: string;
  readonly der: Uint8Array;
  /** Apple's configuration profile. */
  readonly mobileConfig: string;
  readonly fingerprint: string;
}

export function rootCaOf(pem: string): RootForms {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  return { pem, der, mobileConfig: mobileConfig(der), fingerprint: fingerprintOf(der) };
}

/** A profile with one root certificate; its identifiers follow from the certificate, so that it replaces itself. */
function mobileConfig(der: Buffer): string {
  const hex = createHash('sha256').update(der).digest('hex');
  const uuid = (from: number) =>
    [8, 4, 4, 4, 12]
      .map((length, index, all) => {
        const start = from + all.slice(0, index).reduce((sum, one) => sum + one, 0);
        return hex.slice(start, start + length);
      })
      .join('-')
      .toUpperCase();
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadContent</key>
  <array>
    <dict>
      <key>PayloadContent</key>
      <data>${der.toString('base64')}</data>
      <key>PayloadDisplayName</key>
      <string>Entrepot registry</string>
      <key>PayloadIdentifier</key>
      <string>entrepot.root-ca.${hex.slice(0, 16)}.certificate</string>
      <key>PayloadType</key>
      <string>com.apple.security.root</string>
      <key>PayloadUUID</key>
      <string>${uuid(0)}</string>
      <key>PayloadVersion</key>
      <integer>1</integer>
    </dict>
  </array>
  <key>PayloadDescription</key>
  <string>Trusts the certificates of an Entrepot registry. SHA-256: ${fingerprintOf(der)}</string>
  <key>PayloadDisplayName</key>
  <string>Entrepot registry</string>
  <key>PayloadIdentifier</key>
  <string>entrepot.root-ca.${hex.slice(0, 16)}</string>
  <key>PayloadType</key>
  <string>Configuration</string>
  <key>PayloadUUID</key>
  <string>${uuid(32)}</string>
  <key>PayloadVersion</key>
  <integer>1</integer>
</dict>
</plist>
`;
}
