"""The Streamlit shell of CPD Studio: it reads the store and starts processes; no torch in here."""
