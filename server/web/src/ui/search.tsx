// A search field; Escape empties it, and leaves it when it is empty.

import type { RefObject } from "react";
import { SearchIcon } from "./icons";

interface SearchProps {
  value: string;
  onChange: (value: string) => void;
  label: string;
  field?: RefObject<HTMLInputElement | null>;
  name?: string;
}

export function Search({ value, onChange, label, field, name }: SearchProps) {
  return (
    <label className="search">
      <SearchIcon />
      <input
        ref={field}
        type="text"
        name={name}
        value={value}
        placeholder={label}
        aria-label={label}
        spellCheck={false}
        autoComplete="off"
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          if (value === "") event.currentTarget.blur();
          else onChange("");
          event.stopPropagation();
        }}
      />
    </label>
  );
}
