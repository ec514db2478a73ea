// Small hooks around the browser: the size of an element, whether it is in view, and the time.

import { type RefObject, useEffect, useLayoutEffect, useState } from "react";

/** The width of an element's content box in CSS pixels; 0 until it is known. */
export function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    setWidth(target.clientWidth);
    const observer = new ResizeObserver(() => setWidth(target.clientWidth));
    observer.observe(target);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

/** Whether an element is in view, or within `margin` pixels of it. */
export function useInView(element: RefObject<HTMLElement | null>, margin: number): boolean {
  const [isInView, setInView] = useState(false);
  useEffect(() => {
    const target = element.current;
    if (!target) return;
    const observer = new IntersectionObserver((entries) => setInView(entries.at(-1)!.isIntersecting), {
      rootMargin: `${margin}px 0px`,
    });
    observer.observe(target);
    return () => observer.disconnect();
  }, [element, margin]);
  return isInView;
}

/** The time in ms, renewed every `everyMs`, for texts such as "3 min. ago". Asks nobody for anything. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
