// Starts the deck. Slides that go beyond the screen are scrolled; figures are drawn by predact.js.
Reveal.initialize({
  width: 1200,
  height: 760,
  margin: 0.03,
  center: false,
  hash: true,
  transition: matchMedia("(prefers-reduced-motion: reduce)").matches ? "none" : "fade",
  plugins: [RevealNotes],
});
// A slide that was hidden has had no width: its figures ask for it when the window is resized.
Reveal.on("slidechanged", () => dispatchEvent(new Event("resize")));
