// The few pictures the page needs, drawn here: no icon font, nothing fetched.

import type { ReactNode } from "react";

function Icon({ children, size = 16 }: { children: ReactNode; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const EyeIcon = () => (
  <Icon>
    <path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8Z" />
    <circle cx="8" cy="8" r="1.9" />
  </Icon>
);

export const EyeOffIcon = () => (
  <Icon>
    <path d="M2 2l12 12M6.3 3.8A6 6 0 0 1 8 3.5c4 0 6.5 4.5 6.5 4.5a11 11 0 0 1-2 2.5M4 5A10.5 10.5 0 0 0 1.5 8S4 12.5 8 12.500a6 6 0 0 0 2.8-.7" />
  </Icon>
);

export const SearchIcon = () => (
  <Icon size={14}>
    <circle cx="7" cy="7" r="4.5" />
    <path d="M10.5 10.5 14 14" />
  </Icon>
);

export const ExpandIcon = () => (
  <Icon size={14}>
    <path d="M9.5 2.500h4v4M6.5 13.500h-4v-4M13.5 2.500l-4.5 4.500M2.5 13.5 7 9" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon size={14}>
    <path d="M3.5 3.500l9 9M12.5 3.500l-9 9" />
  </Icon>
);

export const ChevronIcon = ({ isOpen }: { isOpen: boolean }) => (
  <Icon size={12}>{isOpen ? <path d="M3 6l5 5 5-5" /> : <path d="M6 3l5 5-5 5" />}</Icon>
);

export const SunIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="3" />
    <path d="M8 1.300v1.400M8 13.300v1.400M1.3 8h1.400M13.3 8h1.400M3.3 3.300l1 1M11.7 11.700l1 1M3.3 12.700l1-1M11.7 4.300l1-1" />
  </Icon>
);

export const MoonIcon = () => (
  <Icon>
    <path d="M13.5 9.800A6 6 0 0 1 6.2 2.500a6 6 0 1 0 7.3 7.300Z" />
  </Icon>
);

export const CopyIcon = () => (
  <Icon size={14}>
    <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
    <path d="M3 10.500h-.5V3.500a1 1 0 0 1 1-1h7V3" />
  </Icon>
);

export const CheckIcon = () => (
  <Icon size={14}>
    <path d="M3 8.500l3.2 3.200L13 4.8" />
  </Icon>
);

export const Logo = () => (
  <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="7" fill="var(--accent)" />
    <path d="M5 8c3 12 6 15 11 15s7-3 11-4" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" />
    <circle cx="27" cy="19" r="2.6" fill="#fff" />
  </svg>
);
